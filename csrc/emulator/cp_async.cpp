#include "cp_async.h"

#include <cstring>

#include "runtime.h"
#include "sanitizer.h"
#include "scheduler.h"
#include "shared_memory.h"

namespace convgpu::emulator {
namespace {

void perform(AsyncCopy& c) {
    note_read(c.source, c.source_bytes);
    note_write(c.destination, c.bytes);
    Quiet quiet;
    if (c.source_bytes) std::memcpy(c.destination, c.source, c.source_bytes);
    std::memset(static_cast<char*>(c.destination) + c.source_bytes, 0, c.bytes - c.source_bytes);
    c.performed = true;
}

bool at_once() { return config().copy == Timing::kEager || (config().copy == Timing::kRandom && coin_flip()); }

}  // namespace

void cp_async(uint32_t destination, const void* source, uint32_t bytes, uint32_t source_bytes) {
    if (source_bytes > bytes) fail("cp.async: the source size %u exceeds the copy size %u", source_bytes, bytes);
    if (source_bytes && reinterpret_cast<uintptr_t>(source) % bytes) {
        fail("cp.async: the global address %p is not aligned to %u bytes", source, bytes);
    }
    AsyncCopy copy{shared_pointer(destination, bytes, bytes, "cp.async"), source, bytes, source_bytes, false};
    if (at_once()) perform(copy);
    Quiet quiet;
    current->cp_async.copies.push_back(copy);
}

void cp_async_commit() {
    Quiet quiet;
    current->cp_async.groups.push_back(current->cp_async.copies.size());
}

void cp_async_wait(size_t newest) {
    CpAsyncState& s = current->cp_async;
    if (s.groups.size() <= newest) return;
    const size_t end = s.groups[s.groups.size() - 1 - newest];
    for (; s.waited < end; ++s.waited) {
        if (!s.copies[s.waited].performed) perform(s.copies[s.waited]);
    }
    if (newest > 0 || s.waited < s.copies.size()) return;
    s.copies.clear();
    s.groups.clear();
    s.waited = 0;
}

void check_cp_async_at_exit() {
    CpAsyncState& s = current->cp_async;
    if (s.waited < s.copies.size()) fail("the thread exits with cp.async copies that it never waited for");
    s.copies.clear();
    s.groups.clear();
    s.waited = 0;
}

}  // namespace convgpu::emulator
