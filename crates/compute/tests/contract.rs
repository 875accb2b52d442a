//! The contract suite against every driver, and what only one driver has.

#![allow(clippy::unwrap_used)]

/// A test for each check of the contract, on the subject that `$subject` makes (`None` where it cannot run).
macro_rules! contract_tests {
    ($subject:expr) => {
        crate::contract_tests!($subject;
            launch_is_idempotent, launches_at_once, stop_and_start_keep_the_disk, root_volumes_are_replaced,
            terminate_removes_everything, not_found_is_typed,
            failed_launch_leaves_nothing, instances_outlive_the_driver, usage_grows, console_is_bounded,
            suspended_instances_hold_still, image_of_an_instance);
    };
    ($subject:expr; $($name:ident),*) => {
        #[test]
        fn every_check_is_run() {
            assert_eq!(puffer_compute::contract::CHECKS, [$(stringify!($name)),*]);
        }
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                if let Some(subject) = $subject {
                    puffer_compute::contract::check(&subject, stringify!($name)).await;
                }
            }
        )*
    };
}
pub(crate) use contract_tests;

#[path = "contract/container/mod.rs"]
mod container;
#[path = "contract/process.rs"]
mod process;
#[path = "contract/simulated.rs"]
mod simulated;
