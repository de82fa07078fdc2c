// Where lanes that part at a branch meet again: at the branch's immediate post-dominator, which every path to the end
// passes. Found by the algorithm of Cooper, Harvey and Kennedy ("A Simple, Fast Dominance Algorithm") on the reversed
// graph.
#include <map>
#include <set>

#include "kernel.h"

namespace convgpu::ptx {
namespace {

struct Graph {
    std::vector<int> starts;  // the first step of each part without jumps
    std::vector<std::vector<int>> next, before;
    int end = 0;  // a node behind all

    int last(int part, int steps) const { return (part + 1 < end ? starts[static_cast<size_t>(part) + 1] : steps) - 1; }
};

std::vector<int> targets_of(const Step& s) {
    if (s.flow == Flow::kBranch) return {s.target};
    if (s.flow == Flow::kIndexed) {
        const auto& steps = detail<Targets>(s).steps;
        return {steps.begin(), steps.end()};
    }
    return {};
}

bool jumps(const Step& s) { return s.flow == Flow::kBranch || s.flow == Flow::kIndexed || s.flow == Flow::kExit; }

Graph graph_of(const std::vector<Step>& steps) {
    const int n = static_cast<int>(steps.size());
    std::set<int> starts{0};
    for (int k = 0; k < n; ++k) {
        const Step& s = steps[static_cast<size_t>(k)];
        for (const int t : targets_of(s)) starts.insert(t);
        if (jumps(s) && k + 1 < n) starts.insert(k + 1);
    }
    Graph g;
    g.starts.assign(starts.begin(), starts.end());
    g.end = static_cast<int>(g.starts.size());
    g.next.resize(g.starts.size() + 1);
    g.before.resize(g.starts.size() + 1);
    std::map<int, int> part_at;
    for (int p = 0; p < g.end; ++p) part_at[g.starts[static_cast<size_t>(p)]] = p;
    for (int p = 0; p < g.end; ++p) {
        const Step& s = steps[static_cast<size_t>(g.last(p, n))];
        std::vector<int> to;
        for (const int t : targets_of(s)) to.push_back(part_at.at(t));
        if (s.flow == Flow::kExit) to.push_back(g.end);
        if (!jumps(s) || s.guard != kNone) to.push_back(p + 1);
        for (const int t : to) {
            g.next[static_cast<size_t>(p)].push_back(t);
            g.before[static_cast<size_t>(t)].push_back(p);
        }
    }
    return g;
}

// The parts from which the end can be reached, each behind all that its paths to the end pass, where there are no
// loops.
std::vector<int> order_of(const Graph& g) {
    std::vector<int> order;
    std::vector<bool> seen(g.next.size());
    std::vector<std::pair<int, size_t>> work{{g.end, 0}};
    seen[static_cast<size_t>(g.end)] = true;
    while (!work.empty()) {
        auto& [part, at] = work.back();
        const auto& before = g.before[static_cast<size_t>(part)];
        if (at == before.size()) {
            order.push_back(part);
            work.pop_back();
            continue;
        }
        const int p = before[at++];
        if (seen[static_cast<size_t>(p)]) continue;
        seen[static_cast<size_t>(p)] = true;
        work.emplace_back(p, 0);
    }
    return order;
}

}  // namespace

void find_reconvergence(Kernel& k) {
    const Graph g = graph_of(k.steps);
    const std::vector<int> order = order_of(g);
    std::vector<int> number(g.next.size(), -1), meets(g.next.size(), -1);
    for (size_t o = 0; o < order.size(); ++o) number[static_cast<size_t>(order[o])] = static_cast<int>(o);
    const auto at = [](std::vector<int>& list, int index) -> int& { return list[static_cast<size_t>(index)]; };
    at(meets, g.end) = g.end;
    for (bool changed = true; changed;) {
        changed = false;
        for (int o = static_cast<int>(order.size()) - 2; o >= 0; --o) {
            const int part = order[static_cast<size_t>(o)];
            int best = -1;
            for (int other : g.next[static_cast<size_t>(part)]) {
                if (at(meets, other) < 0) continue;
                for (int mine = best; best >= 0 && mine != other;) {
                    while (at(number, mine) < at(number, other)) mine = at(meets, mine);
                    while (at(number, other) < at(number, mine)) other = at(meets, other);
                }
                best = other;
            }
            if (best == at(meets, part)) continue;
            at(meets, part) = best;
            changed = true;
        }
    }
    for (int part = 0; part < g.end; ++part) {
        Step& s = k.steps[static_cast<size_t>(g.last(part, static_cast<int>(k.steps.size())))];
        if (s.flow != Flow::kBranch && s.flow != Flow::kIndexed) continue;
        const int meet = at(meets, part);
        s.reconverge = meet < 0 || meet == g.end ? -1 : g.starts[static_cast<size_t>(meet)];
    }
}

}  // namespace convgpu::ptx
