"""Kernels do not know subnormal numbers: whatever is too small to be normal is zero, with its sign.

Intel processors take more than a hundred cycles for an operation that meets a subnormal number: a kernel in which values underflow
took ten to thirty times as long as the same one where none do. So the processor flushes them while a kernel runs. That costs bits:

- results below the smallest normal number (1.2e-38 in float32 and bfloat16, 2.2e-308 in float64) are 0;
- a subnormal x, parameter, gradient or number in a formula counts as 0: log(x) is -inf and 1/x infinite there, and x itself is 0;
- what underflows on the way is 0 too, and what is made of it: in float32 x*sigmoid(x) is 0 below -87.3, where it is about -1e-36.

float16 is computed in float32, where its subnormal numbers are normal ones: they are exact. Torch operators know subnormal numbers.

All threads compute in one state, whatever the caller has set (`torch.set_flush_denormal`, a rounding mode), and the caller's is
restored. On processors that are neither x86 nor ARM nothing is changed.
"""

from __future__ import annotations

from .llvm import architecture

__all__ = ["without_subnormals"]

# The state: everything flushed (FTZ, DAZ), no trap, to the nearest; afterwards also the sticky flags that the kernel raised.
_X86 = (
    """
declare void @llvm.x86.sse.stmxcsr(ptr)
declare void @llvm.x86.sse.ldmxcsr(ptr)""",
    f"""
  %callers = alloca i32
  %own = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %callers)
  store i32 {0x9FC0}, ptr %own
  call void @llvm.x86.sse.ldmxcsr(ptr %own)""",
    f"""
  call void @llvm.x86.sse.stmxcsr(ptr %own)
  %state = load i32, ptr %own
  %raised = and i32 %state, {0x3F}
  %before = load i32, ptr %callers
  %after = or i32 %before, %raised
  store i32 %after, ptr %callers
  call void @llvm.x86.sse.ldmxcsr(ptr %callers)""",
)
# FZ alone. The sticky flags are in another register.
_ARM = (
    """
declare i64 @llvm.aarch64.get.fpcr()
declare void @llvm.aarch64.set.fpcr(i64)""",
    f"""
  %callers = call i64 @llvm.aarch64.get.fpcr()
  call void @llvm.aarch64.set.fpcr(i64 {1 << 24})""",
    """
  call void @llvm.aarch64.set.fpcr(i64 %callers)""",
)


def without_subnormals(name: str, parameters: str, attributes: str, body: str) -> str:
    """The text of a function that runs this body, which may end in several blocks, while subnormal numbers count as zero.

    The body is a function of its own: LLVM takes arithmetic for independent of the state and would move it to before the change.
    """
    declared, enter, leave = {"x86": _X86, "arm": _ARM}.get(architecture(), ("", "", ""))
    return f"""{declared}
define internal void @{name}.body({parameters}) noinline {attributes} {{{body}
  ret void
}}
define void @{name}({parameters}) {{{enter}
  call void @{name}.body({parameters}){leave}
  ret void
}}
"""
