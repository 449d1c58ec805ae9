/**
 * The system calls that a container may make when nothing else was said: docker's default profile.
 * An allow-list, so that calls of newer kernels stay shut until somebody has looked at them;
 * everything else fails with EPERM. Calls that are dangerous only with a capability are open only to
 * those who have it. Data.
 */

import type { ProfileRule, SeccompProfile } from "./seccomp-profile.ts";

const EPERM = 1;
const ENOSYS = 38;
const AF_VSOCK = 40;

/** CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}: making namespaces is what clone must not do. */
const CLONE_NAMESPACES = 0x7e020000;

/** Execution domains of personality(2) that change nothing dangerous; the last only asks. */
const PERSONALITIES = [
  0x0, // PER_LINUX
  0x8, // PER_LINUX32
  0x20000, // UNAME26
  0x20008, // both
  0xffffffff,
];

const ALWAYS = [
  // Files, by path and by descriptor.
  `access faccessat faccessat2 chdir fchdir chmod fchmod fchmodat fchmodat2 chown chown32 fchown
   fchown32 fchownat lchown lchown32 creat open openat openat2 close close_range dup dup2 dup3
   link linkat symlink symlinkat readlink readlinkat unlink unlinkat rename renameat renameat2
   mkdir mkdirat rmdir mknod mknodat getcwd umask stat stat64 lstat lstat64 fstat fstat64 fstatat64
   newfstatat statx statfs statfs64 fstatfs fstatfs64 getdents getdents64 truncate truncate64
   ftruncate ftruncate64 fallocate utime utimes futimesat utimensat utimensat_time64
   name_to_handle_at cachestat`,
  `getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat listxattr
   llistxattr flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat`,
  // Reading, writing, waiting.
  `read readv pread64 preadv preadv2 write writev pwrite64 pwritev pwritev2 lseek _llseek readahead
   sendfile sendfile64 copy_file_range splice tee vmsplice fadvise64 fadvise64_64 sync syncfs fsync
   fdatasync sync_file_range fcntl fcntl64 flock ioctl pipe pipe2 io_setup io_destroy io_submit
   io_cancel io_getevents io_pgetevents io_pgetevents_time64 poll ppoll ppoll_time64 select
   _newselect pselect6 pselect6_time64 epoll_create epoll_create1 epoll_ctl epoll_ctl_old
   epoll_wait epoll_wait_old epoll_pwait epoll_pwait2 eventfd eventfd2 inotify_init inotify_init1
   inotify_add_watch inotify_rm_watch fanotify_mark`,
  // Memory.
  `brk mmap mmap2 munmap mremap mprotect madvise mincore msync mlock mlock2 mlockall munlock
   munlockall mseal remap_file_pages memfd_create memfd_secret membarrier pkey_alloc pkey_free
   pkey_mprotect map_shadow_stack process_mrelease`,
  // Processes, threads, scheduling.
  `fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid gettid getpgid
   getpgrp getsid setpgid setsid set_tid_address set_robust_list get_robust_list get_thread_area
   set_thread_area futex futex_time64 futex_waitv futex_wait futex_wake futex_requeue rseq prctl
   seccomp getcpu getpriority setpriority ioprio_get ioprio_set sched_yield sched_getaffinity
   sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam sched_getscheduler
   sched_setscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval
   sched_rr_get_interval_time64 getrlimit setrlimit ugetrlimit prlimit64 getrusage times pidfd_open
   pidfd_send_signal uretprobe restart_syscall pause uname sysinfo`,
  // Identities.
  `getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getresuid getresuid32
   getresgid getresgid32 getgroups getgroups32 setuid setuid32 setgid setgid32 setreuid setreuid32
   setregid setregid32 setresuid setresuid32 setresgid setresgid32 setgroups setgroups32 setfsuid
   setfsuid32 setfsgid setfsgid32 capget capset landlock_create_ruleset landlock_add_rule
   landlock_restrict_self lsm_get_self_attr lsm_set_self_attr lsm_list_modules`,
  // Signals.
  `kill tkill tgkill rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_tgsigqueueinfo
   rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 sigaltstack sigprocmask
   sigreturn signalfd signalfd4`,
  // Time. Setting the clock is capability-bound in the kernel: adjtimex may also only be asked.
  `time gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep
   clock_nanosleep_time64 clock_adjtime clock_adjtime64 adjtimex nanosleep alarm getitimer setitimer
   timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime
   timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime
   timerfd_settime64`,
  // Sockets; making one has a rule of its own.
  `accept accept4 bind connect listen shutdown socketpair socketcall getsockname getpeername
   getsockopt setsockopt recv recvfrom recvmsg recvmmsg recvmmsg_time64 send sendto sendmsg
   sendmmsg`,
  // System V and POSIX interprocess communication.
  `ipc msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl
   shmdt shmget mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend
   mq_timedsend_time64 mq_unlink getrandom statmount listmount`,
];

const PER_ARCHITECTURE: readonly (readonly [arches: readonly string[], calls: string])[] = [
  [["ppc64le"], "sync_file_range2 swapcontext"],
  [
    ["arm", "arm64"],
    "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
  ],
  [["amd64", "x32"], "arch_prctl"],
  [["amd64", "x32", "x86"], "modify_ldt"],
  [["s390", "s390x"], "s390_pci_mmio_read s390_pci_mmio_write s390_runtime_instr"],
  [["riscv64"], "riscv_flush_icache riscv_hwprobe"],
];

const PER_CAPABILITY: readonly (readonly [capability: string, calls: string])[] = [
  ["CAP_DAC_READ_SEARCH", "open_by_handle_at"],
  [
    "CAP_SYS_ADMIN",
    `bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie mount
     mount_setattr move_mount open_tree perf_event_open quotactl quotactl_fd setdomainname
     sethostname setns syslog umount umount2 unshare`,
  ],
  ["CAP_SYS_BOOT", "reboot"],
  ["CAP_SYS_CHROOT", "chroot"],
  ["CAP_SYS_MODULE", "delete_module init_module finit_module"],
  ["CAP_SYS_PACCT", "acct"],
  ["CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"],
  ["CAP_SYS_RAWIO", "iopl ioperm"],
  ["CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"],
  ["CAP_SYS_TTY_CONFIG", "vhangup"],
  ["CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"],
  ["CAP_SYSLOG", "syslog"],
  ["CAP_BPF", "bpf"],
  ["CAP_PERFMON", "perf_event_open"],
];

const ADMIN = { caps: ["CAP_SYS_ADMIN"] };
const S390 = ["s390", "s390x"];

function names(text: string): string[] {
  return text.trim().split(/\s+/);
}

function allow(text: string, more: Omit<ProfileRule, "names" | "action"> = {}): ProfileRule {
  return { names: names(text), action: "SCMP_ACT_ALLOW", ...more };
}

function argument(index: number, op: string, value: number, valueTwo = 0) {
  return [{ index, value, valueTwo, op }];
}

export const DEFAULT_SECCOMP_PROFILE: SeccompProfile = {
  defaultAction: "SCMP_ACT_ERRNO",
  defaultErrnoRet: EPERM,
  archMap: [
    {
      architecture: "SCMP_ARCH_X86_64",
      subArchitectures: ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
    },
    { architecture: "SCMP_ARCH_AARCH64", subArchitectures: ["SCMP_ARCH_ARM"] },
    {
      architecture: "SCMP_ARCH_MIPS64",
      subArchitectures: ["SCMP_ARCH_MIPS", "SCMP_ARCH_MIPS64N32"],
    },
    {
      architecture: "SCMP_ARCH_MIPSEL64",
      subArchitectures: ["SCMP_ARCH_MIPSEL", "SCMP_ARCH_MIPSEL64N32"],
    },
    { architecture: "SCMP_ARCH_S390X", subArchitectures: ["SCMP_ARCH_S390"] },
    { architecture: "SCMP_ARCH_RISCV64", subArchitectures: [] },
    { architecture: "SCMP_ARCH_LOONGARCH64", subArchitectures: [] },
  ],
  syscalls: [
    allow(ALWAYS.join(" ")),
    // Before 4.8, tracing was a way around the filter.
    allow("process_vm_readv process_vm_writev ptrace", { includes: { minKernel: "4.8" } }),
    // Not namespaced: it would reach the hypervisor's side of the host.
    allow("socket", { args: argument(0, "SCMP_CMP_NE", AF_VSOCK) }),
    ...PERSONALITIES.map((value) =>
      allow("personality", { args: argument(0, "SCMP_CMP_EQ", value) }),
    ),
    ...PER_ARCHITECTURE.map(([arches, calls]) => allow(calls, { includes: { arches } })),
    ...PER_CAPABILITY.map(([capability, calls]) =>
      allow(calls, { includes: { caps: [capability] } }),
    ),
    allow("clone", {
      args: argument(0, "SCMP_CMP_MASKED_EQ", CLONE_NAMESPACES),
      excludes: { ...ADMIN, arches: S390 },
    }),
    // There, the flags are the second argument.
    allow("clone", {
      args: argument(1, "SCMP_CMP_MASKED_EQ", CLONE_NAMESPACES),
      includes: { arches: S390 },
      excludes: ADMIN,
    }),
    // Its flags lie in memory, where a filter cannot look; "no such call" makes C libraries use clone.
    { names: ["clone3"], action: "SCMP_ACT_ERRNO", errnoRet: ENOSYS, excludes: ADMIN },
  ],
};
