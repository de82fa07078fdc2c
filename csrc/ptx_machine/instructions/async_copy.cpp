// 9.7.9 Data Movement and Conversion Instructions: cp.async.
//
// A copy lands when its group is waited for, as late as the manual allows, or with `early_copies` at any time before.
// Until then its destination must not be read.
#include <random>

#include "lanes.h"

namespace convgpu::ptx {
namespace {

struct CopyAddresses : Detail {
    int64_t destination = 0, source = 0;  // displacements
    uint32_t bytes = 0;
};

Block& block_of(Warp& w, uint32_t address) {
    const uint32_t rank = address >> kRankShift;
    return rank ? w.cluster->blocks[rank - 1] : *w.block;
}

// op: destination, source, size of the source or kNone, predicate that skips the source or kNone
void start_copy(Warp& w, const Step& s, Mask lanes) {
    const auto& d = detail<CopyAddresses>(s);
    for_lanes(lanes, [&](int l) {
        Copy c;
        c.step = &s;
        c.lane = static_cast<uint32_t>(l);
        c.group = w.commits[l];
        c.bytes = c.source_bytes = d.bytes;
        c.destination = static_cast<uint32_t>(d.destination) + (s.op[0] == kNone ? 0
                                                                : s.wide ? static_cast<U32>(w.lanes<U64>(s.op[0])[l])
                                                                         : w.lanes<U32>(s.op[0])[l]);
        c.source = static_cast<U64>(d.source) + (s.op[1] == kNone ? 0 : w.lanes<U64>(s.op[1])[l]);
        if (s.op[2] != kNone) c.source_bytes = w.lanes<U32>(s.op[2])[l];
        if (s.op[3] != kNone && w.predicate(s.op[3]) >> l & 1) c.source_bytes = 0;
        if (c.source_bytes > c.bytes)
            fault(w, s, l, "bounds", format("a source of %u bytes for a copy of %u", c.source_bytes, c.bytes));
        if (c.source & (c.bytes - 1)) {
            fault(w, s, l, "misaligned", format("a source of cp.async that is not a multiple of %u", c.bytes),
                  w.cluster->grid->memory->describe(c.source));
        }
        uint8_t* to = resolve_one(w, s, l, Space::kShared, Use::kWrite, c.bytes, c.destination);
        uint8_t poison[16];
        std::memset(poison, 0xff, sizeof poison);
        if (w.worker->grid->settings.races) note_write(w, s, l, Space::kShared, c.destination, c.bytes, 0, to, poison);
        std::memcpy(to, poison, c.bytes);
        std::memset(&block_of(w, c.destination).known[(c.destination & kRankMask) - kSharedBase], kInFlight, c.bytes);
        w.copies.push_back(c);
    });
}

void land(Warp& w, const Copy& c) {
    const int l = static_cast<int>(c.lane);
    uint8_t bytes[16] = {};
    for (uint32_t done = 0; done < c.source_bytes;) {  // part of a source need not be a power of two
        uint32_t n = c.bytes;
        while (n > c.source_bytes - done) n /= 2;
        std::memcpy(bytes + done, resolve_one(w, *c.step, l, Space::kGlobal, Use::kRead, n, c.source + done), n);
        if (w.worker->grid->settings.races && w.worker->recent[c.step->number]->writable)
            note_read(w, *c.step, l, Space::kGlobal, c.source + done, n, 0);
        done += n;
    }
    uint8_t* to = resolve_one(w, *c.step, l, Space::kShared, Use::kWrite, c.bytes, c.destination);
    if (w.worker->grid->settings.races) note_write(w, *c.step, l, Space::kShared, c.destination, c.bytes, 0, to, bytes);
    std::memcpy(to, bytes, c.bytes);
}

// Lands the lanes' copies but for those of the newest `kept` groups.
void wait_groups(Warp& w, Mask lanes, uint32_t kept, bool uncommitted) {
    size_t left = 0;
    for (size_t k = 0; k < w.copies.size(); ++k) {
        const Copy c = w.copies[k];
        const uint32_t commits = w.commits[c.lane];
        const bool committed = c.group < commits;
        const bool wanted = lanes >> c.lane & 1 && (committed ? commits - c.group > kept : uncommitted);
        if (wanted)
            land(w, c);
        else
            w.copies[left++] = c;
    }
    w.copies.resize(left);
}

void build_copy(Builder& b) {
    for (const std::string& word : b.source.words) {
        if (word.rfind("L2::", 0) == 0) b.has(word.c_str());
    }
    b.one_of({"ca", "cg"});
    b.one_of({"shared", "shared::cta"});
    b.one_of({"global"});
    b.no_more_modifiers();
    b.expect_operands(3, 5);
    CopyAddresses d;
    d.bytes = static_cast<uint32_t>(b.integer(2));
    if (d.bytes != 4 && d.bytes != 8 && d.bytes != 16)
        throw Error(format("expected 4, 8 or 16 bytes, got %u", d.bytes));
    const Builder::Address to = b.address(b.operand(0)), from = b.address(b.operand(1));
    d.destination = to.displacement;
    d.source = from.displacement;
    uint32_t size = kNone, skip = kNone;
    if (b.operands() > 3) {
        const Operand& o = b.operand(3);
        if (b.width(o) == kPredicate)
            skip = b.place(o, kPredicate);
        else if (b.width(o) != 8)
            size = b.place(o, 4);
    }
    Step& s = b.emit(&start_copy, {to.base, from.base, size, skip});
    s.wide = to.wide;
    b.attach<CopyAddresses>(s) = d;
    note_granule(b, Space::kShared, d.bytes);
    note_granule(b, Space::kGlobal, d.bytes);
}

// op: nothing; `count`: the groups that may stay under way
void wait_group(Warp& w, const Step& s, Mask lanes) { wait_groups(w, lanes, s.count, false); }
void wait_all(Warp& w, const Step&, Mask lanes) { wait_groups(w, lanes, 0, true); }
void commit_group(Warp& w, const Step&, Mask lanes) {
    for_lanes(lanes, [&](int l) { ++w.commits[l]; });
}

}  // namespace

void land_some(Warp& w) {
    size_t left = 0;
    for (size_t k = 0; k < w.copies.size(); ++k) {
        const Copy c = w.copies[k];
        if (w.worker->random() & 1)
            land(w, c);
        else
            w.copies[left++] = c;
    }
    w.copies.resize(left);
}

void add_async_copy(Table& t) {
    t.section("9.7.9 cp.async");
    t.family("cp.async", build_copy);
    t.section("9.7.9 cp.async.commit_group");
    t.family("cp.async.commit_group", [](Builder& b) { b.emit(&commit_group, {}); });
    t.section("9.7.9 cp.async.wait_group, cp.async.wait_all");
    t.family("cp.async.wait_group", [](Builder& b) {
        const auto kept = static_cast<uint8_t>(b.integer(0));
        b.emit(&wait_group, {}).count = kept;
    });
    t.family("cp.async.wait_all", [](Builder& b) { b.emit(&wait_all, {}); });
}

}  // namespace convgpu::ptx
