//! The system calls an instance may not make.
//!
//! The model is a whole machine with systemd, so a deny-list: everything a distribution needs is allowed, and what reaches
//! past the namespaces (modules, kexec, clocks, swap, port I/O, kernel keyrings, file handles, BPF, performance counters,
//! io_uring and userfaultfd, which most escapes of recent years went through) is refused. Two rules keep a deny-list from
//! ageing: numbers above the newest call known when this was written answer `ENOSYS`, as on an older kernel, and so does
//! the x32 ABI on x86-64, whose other numbering would walk around the list. A foreign architecture is killed.

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

/// The newest call number that has been looked at (`listns` and neighbours, Linux 6.18). x86-64 and aarch64 share numbers above 424.
const KNOWN_CALL_MAX: u32 = 470;

const BPF_LD_W_ABS: u16 = 0x20;
const BPF_JGT_K: u16 = 0x25;
const BPF_RET_K: u16 = 0x06;
const SECCOMP_RET_ERRNO: u32 = 0x0005_0000;

/// Answer `EPERM`: programs take it as "not allowed here".
fn refused() -> Vec<i64> {
    let mut calls = vec![
        libc::SYS_kexec_load,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_delete_module,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_keyctl,
        libc::SYS_open_by_handle_at,
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_acct,
        libc::SYS_quotactl,
        libc::SYS_quotactl_fd,
        libc::SYS_settimeofday,
        libc::SYS_clock_settime,
        libc::SYS_nfsservctl,
        libc::SYS_lookup_dcookie,
        libc::SYS_syslog,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_kcmp,
    ];
    calls.push(libc::SYS_kexec_file_load);
    #[cfg(target_arch = "x86_64")]
    calls.extend([libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_uselib, libc::SYS__sysctl]);
    calls
}

/// Answer `ENOSYS`: programs fall back to something older.
const ABSENT: [i64; 4] =
    [libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register, libc::SYS_userfaultfd];

/// The filter as BPF, to be installed last before init.
pub(super) fn program() -> Result<BpfProgram, seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = |rules: BTreeMap<i64, Vec<SeccompRule>>,
                  errno: i32|
     -> Result<BpfProgram, seccompiler::BackendError> {
        SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(errno as u32), arch)?.try_into()
    };
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        refused().into_iter().map(|call| (call, Vec::new())).collect();
    // Typing into the terminal of someone else.
    let ioctl = |request: u64| -> Result<SeccompRule, seccompiler::BackendError> {
        SeccompRule::new(vec![SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, request)?])
    };
    rules.insert(libc::SYS_ioctl, vec![ioctl(libc::TIOCSTI)?, ioctl(libc::TIOCLINUX)?]);
    let mut program = unknown_calls();
    program.extend(filter(rules, libc::EPERM)?);
    Ok(program)
}

/// The second filter; the kernel runs both and the stricter answer counts.
pub(super) fn absent_program() -> Result<BpfProgram, seccompiler::BackendError> {
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    let rules: BTreeMap<i64, Vec<SeccompRule>> = ABSENT.into_iter().map(|call| (call, Vec::new())).collect();
    SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS as u32), arch)?
        .try_into()
}

/// `if number > KNOWN_CALL_MAX { return ENOSYS }`; covers x32 too, whose numbers have bit 30 set.
fn unknown_calls() -> BpfProgram {
    let instruction = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    vec![
        instruction(BPF_LD_W_ABS, 0, 0, 0),
        instruction(BPF_JGT_K, 0, 1, KNOWN_CALL_MAX),
        instruction(BPF_RET_K, 0, 0, SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_compile_and_fit_the_kernel() {
        // BPF_MAXINSNS is 4096.
        assert!(program().unwrap().len() < 1000);
        assert!(absent_program().unwrap().len() < 1000);
    }

    #[test]
    fn allowed_and_refused_lists_do_not_overlap() {
        assert!(refused().iter().all(|call| !ABSENT.contains(call)));
        assert!(refused().iter().all(|call| *call <= i64::from(KNOWN_CALL_MAX)));
    }
}
