//! The container driver's helper as a program of its own, for this crate's tests; the product re-executes itself.

fn main() -> std::process::ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words = if words.first().is_some_and(|w| w == puffer_compute::container::HELPER_WORD) {
        &words[1..]
    } else {
        &words[..]
    };
    puffer_compute::container::helper_main(words).into()
}
