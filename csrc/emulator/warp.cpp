#include "warp.h"

#include <algorithm>

#include "runtime.h"
#include "sanitizer.h"
#include "scheduler.h"

namespace convgpu::emulator {
namespace {

Rendezvous& rendezvous_of(Warp& warp, uint32_t mask) {
    for (Rendezvous* r : warp.rendezvous) {
        if (r->mask == mask) return *r;
    }
    auto* r = new Rendezvous;
    r->mask = mask;
    warp.rendezvous.push_back(r);
    return *r;
}

}  // namespace

const LaneData& meet(const Instruction& instruction, uint32_t mask, const LaneData& in) {
    Quiet quiet;
    Warp& warp = *current->warp;
    const uint32_t me = 1u << current->lane;
    if (warp.lanes < 32) mask &= (1u << warp.lanes) - 1;
    if (!(mask & me))
        fail("%s: the calling lane %u is not in its own mask %08x", instruction.what, current->lane, mask);
    Rendezvous& r = rendezvous_of(warp, mask);
    if (!r.arrived) {
        r.kind = instruction.kind;
        r.what = instruction.what;
    } else if (r.kind != instruction.kind) {
        fail("lanes of one warp meet in different instructions: %s and %s", r.what, instruction.what);
    }
    const int g = r.generation & 1;
    r.in[g][current->lane] = in;
    r.arrived |= me;
    r.waiters.push_back(current);
    const bool orders_memory = instruction.kind == Collective::kSyncwarp;  // no other collective orders memory
    if (orders_memory) release(&r.in[g]);
    if (r.arrived == mask) {
        if (instruction.combine) instruction.combine(mask, r.in[g], r.out[g], instruction.option);
        r.arrived = 0;
        ++r.generation;
        resume_together(r.waiters);
    } else {
        suspend({instruction.what, mask});
    }
    if (orders_memory) acquire(&r.in[g]);
    return r.out[g][current->lane];
}

void sync_warp(uint32_t mask) { meet({Collective::kSyncwarp, "__syncwarp", nullptr}, mask, LaneData{}); }

void combine_shuffle(uint32_t mask, const LaneData* in, LaneData* out, int) {
    for (int lane = 0; lane < 32; ++lane) {
        if (!(mask >> lane & 1)) continue;
        const uint32_t source = in[lane].word[4] & 31;
        if (!(mask >> source & 1)) {
            fail("shuffle: lane %d reads from lane %u, which is not in the mask %08x", lane, source, mask);
        }
        out[lane] = in[source];
    }
}

uint32_t ballot(uint32_t mask, bool predicate, const char* what) {
    auto combine = [](uint32_t lanes, const LaneData* in, LaneData* out, int) {
        uint32_t votes = 0;
        for (int lane = 0; lane < 32; ++lane) {
            if (lanes >> lane & 1) votes |= in[lane].word[0] << lane;
        }
        for (int lane = 0; lane < 32; ++lane) out[lane].word[0] = votes;
    };
    LaneData in{};
    in.word[0] = predicate;
    return meet({Collective::kBallot, what, combine}, mask, in).word[0];
}

bool elect(uint32_t mask) {
    const Warp& warp = *current->warp;
    if (warp.lanes < 32) mask &= (1u << warp.lanes) - 1;
    meet({Collective::kElect, "elect.sync", nullptr}, mask, LaneData{});
    return current->lane == 31u - static_cast<uint32_t>(__builtin_clz(mask));
}

}  // namespace convgpu::emulator
