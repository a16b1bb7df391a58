//! System calls that the daemon never makes: starting programs, waiting for clients anew, changing the kernel.
//!
//! They are refused with "Operation not permitted", not by death: whatever calls one by mistake goes on.

use std::collections::BTreeMap;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// Programs. The runner starts what actions need.
const PROGRAMS: &[i64] = &[libc::SYS_execve, libc::SYS_execveat];

/// The control socket is there already.
const LISTENERS: &[i64] = &[libc::SYS_listen];

/// The kernel, its modules, its clock, its mounts.
const KERNEL: &[i64] = &[
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fsmount,
    libc::SYS_fsconfig,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_quotactl,
];

/// Other processes, and ways around this list.
const OTHERS: &[i64] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_open_by_handle_at,
    libc::SYS_personality,
    libc::SYS_mknodat,
];

/// From now on they are refused to this thread and to those that it starts. In words, what that means.
///
/// # Errors
/// What the kernel has against it, or that this architecture is not known.
pub(super) fn forbid() -> Result<String, seccompiler::Error> {
    let all = [PROGRAMS, LISTENERS, KERNEL, OTHERS];
    let rules = all.into_iter().flatten().map(|call| (*call, Vec::new()));
    let refused = u32::try_from(libc::EPERM).unwrap_or_default();
    let filter = SeccompFilter::new(
        rules.collect::<BTreeMap<_, _>>(),
        SeccompAction::Allow,
        SeccompAction::Errno(refused),
        TargetArch::try_from(std::env::consts::ARCH)?,
    )?;
    seccompiler::apply_filter(&BpfProgram::try_from(filter)?)?;
    Ok("no programs, no listeners, no kernel modules, no mounts, no look into other processes".to_owned())
}
