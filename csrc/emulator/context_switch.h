// The switch from one fiber to another. For some CPUs it is 15 lines of assembly (about 10 ns). For the others, and
// where CONVGPU_EMULATOR_UCONTEXT is defined, it is ucontext (about 300 ns, because of a system call for the signal
// mask).
//
//     void* prepare_context(char* stack, size_t size, void (*entry)());
//     void switch_context(void*& save, void*& load);
//     void release_context(void*& context);
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(__x86_64__) && !defined(CONVGPU_EMULATOR_UCONTEXT)

extern "C" void convgpu_switch_stack(void** save, void* load);
asm(R"(.text
.globl convgpu_switch_stack
.type convgpu_switch_stack,@function
convgpu_switch_stack:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
.size convgpu_switch_stack,.-convgpu_switch_stack
)");
constexpr int kSavedRegisters = 6;

inline void* prepare_context(char* stack, size_t size, void (*entry)()) {
    auto** top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(stack + size) & ~uintptr_t(63));
    *--top = nullptr;  // the return address that entry never uses; rsp is 8 modulo 16 there, as after a call
    *--top = reinterpret_cast<void*>(entry);
    for (int i = 0; i < kSavedRegisters; ++i) *--top = nullptr;
    return top;
}
inline void switch_context(void*& save, void*& load) { convgpu_switch_stack(&save, load); }
inline void release_context(void*&) {}

#elif defined(__aarch64__) && !defined(CONVGPU_EMULATOR_UCONTEXT)

extern "C" void convgpu_switch_stack(void** save, void* load);
asm(R"(.text
.globl convgpu_switch_stack
.type convgpu_switch_stack,%function
convgpu_switch_stack:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
.size convgpu_switch_stack,.-convgpu_switch_stack
)");

inline void* prepare_context(char* stack, size_t size, void (*entry)()) {
    auto** top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(stack + size) & ~uintptr_t(63)) - 20;
    for (int i = 0; i < 20; ++i) top[i] = nullptr;
    top[11] = reinterpret_cast<void*>(entry);  // x30 is where ret goes
    return top;
}
inline void switch_context(void*& save, void*& load) { convgpu_switch_stack(&save, load); }
inline void release_context(void*&) {}

#else

#include <ucontext.h>

inline void* prepare_context(char* stack, size_t size, void (*entry)()) {
    auto* context = new ucontext_t;
    getcontext(context);
    context->uc_stack.ss_sp = stack;
    context->uc_stack.ss_size = size;
    context->uc_link = nullptr;
    makecontext(context, entry, 0);
    return context;
}
inline void switch_context(void*& save, void*& load) {
    if (!save) save = new ucontext_t;
    swapcontext(static_cast<ucontext_t*>(save), static_cast<ucontext_t*>(load));
}
inline void release_context(void*& context) {
    delete static_cast<ucontext_t*>(context);
    context = nullptr;
}

#endif
