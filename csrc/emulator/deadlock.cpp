#include "deadlock.h"

#include <cstdio>

#include "mbarrier.h"
#include "runtime.h"

namespace convgpu::emulator {
namespace {

constexpr size_t kShown = 6;

// Neighbouring threads of one block that all wait for the same thing.
struct Group {
    const Thread *first, *last;
    size_t size;
};

bool alike(const Thread* a, const Thread* b) {
    return a->block == b->block && a->waiting.what == b->waiting.what && a->waiting.id == b->waiting.id;
}

std::string describe(const Group& g) {
    const Waiting& w = g.first->waiting;
    const uint3 block = g.first->block->index, first = g.first->index, last = g.last->index;
    char text[240];
    std::snprintf(text, sizeof text, "\n  block (%u,%u,%u): %zu threads, (%u,%u,%u) to (%u,%u,%u), in %s 0x%llx",
                  block.x, block.y, block.z, g.size, first.x, first.y, first.z, last.x, last.y, last.z, w.what,
                  static_cast<unsigned long long>(w.id));
    return text + (w.mbarrier ? " (" + describe_mbarrier(*w.mbarrier) + ")" : std::string());
}

}  // namespace

std::string describe_deadlock(const Cluster& cluster) {
    std::vector<Group> groups;
    size_t waiting = 0;
    for (const Block* b : cluster.blocks) {
        for (const Thread* t : b->threads) {
            if (t->state != State::kWaiting) continue;
            ++waiting;
            if (!groups.empty() && alike(groups.back().first, t)) {
                groups.back().last = t;
                ++groups.back().size;
            } else {
                groups.push_back({t, t, 1});
            }
        }
    }
    std::string text = "deadlock: " + std::to_string(waiting) + " threads wait forever";
    for (size_t i = 0; i < groups.size() && i < kShown; ++i) text += describe(groups[i]);
    if (groups.size() > kShown) text += "\n  and " + std::to_string(groups.size() - kShown) + " more groups";
    return text;
}

}  // namespace convgpu::emulator
