// The collectives of a warp. Its lanes meet at a rendezvous, and the last lane that arrives computes the results of
// all.
#pragma once
#include <cstdint>
#include <cstring>
#include <vector>

namespace convgpu::emulator {

struct Thread;

struct alignas(16) LaneData {
    uint32_t word[12];
};

enum class Collective { kSyncwarp, kShuffle, kBallot, kElect, kLdmatrix, kStmatrix, kMma };

// The place where lanes with the same mask meet. Two generations may overlap: a lane may bring its next input while
// another has not yet taken its last output.
struct Rendezvous {
    uint32_t mask = 0, arrived = 0, generation = 0;
    Collective kind{};
    const char* what = nullptr;
    std::vector<Thread*> waiters;
    LaneData in[2][32], out[2][32];
};

struct Warp {
    Thread* lane[32] = {};
    int lanes = 0;  // fewer than 32 in the last warp of a block whose size is not a multiple of 32
    std::vector<Rendezvous*> rendezvous;
};

// Fills `out` of every lane in `mask` from the `in` of these lanes. `option` holds what a variant of the instruction
// needs.
using Combine = void (*)(uint32_t mask, const LaneData* in, LaneData* out, int option);

struct Instruction {
    Collective kind;
    const char* what;
    Combine combine;
    int option = 0;
};
// Returns the result of the calling lane, which is valid until the lane meets the others again.
const LaneData& meet(const Instruction& instruction, uint32_t mask, const LaneData& in);

void sync_warp(uint32_t mask);
uint32_t ballot(uint32_t mask, bool predicate, const char* what);
bool elect(uint32_t mask);  // elects the highest lane, so that a kernel that relies on lane 0 is found out
void combine_shuffle(uint32_t mask, const LaneData* in, LaneData* out, int option);

// Returns, in every lane, the value that lane `source` (0 to 31) brought.
template <class T>
T shuffle(uint32_t mask, T value, int source, const char* what) {
    static_assert(sizeof(T) <= 16, "a shuffle moves at most 16 bytes");
    LaneData in{};
    std::memcpy(in.word, &value, sizeof value);
    in.word[4] = static_cast<uint32_t>(source);
    const LaneData& out = meet({Collective::kShuffle, what, combine_shuffle}, mask, in);
    std::memcpy(&value, out.word, sizeof value);
    return value;
}

}  // namespace convgpu::emulator
