// 9.7.15 Asynchronous Warpgroup Level Matrix Multiply-Accumulate Instructions: wgmma.
//
// Products are computed when their group is waited for, as late as the manual allows: shared memory, and registers of
// A, must not change before. Meanwhile the accumulators' registers hold poison, and what was in them is kept beside. A
// warpgroup multiplies as one: a group is complete for none of its four warps before all have issued it, and then for
// all.
#include <algorithm>
#include <array>

#include "../tensor_core.h"
#include "../tensor_map.h"
#include "lanes.h"
#include "numbers.h"

namespace convgpu::ptx {
namespace {

enum class Format : uint8_t { kHalf, kBFloat, kTf32 };

struct Product : Detail {
    Format format = Format::kHalf;
    U32 columns = 8, depth = 16;
    bool half_sums = false, a_in_registers = false, a_transposed = false, b_transposed = false;
    bool negate_a = false, negate_b = false;

    U32 bytes() const { return format == Format::kTf32 ? 4 : 2; }
    U32 sums() const { return half_sums ? columns / 4 : columns / 2; }  // registers of D
};

// 9.7.15.5.1.2.2: a matrix descriptor.
struct Descriptor {
    U32 start, leading, stride, swizzle;
};

constexpr U32 kPoison = 0xffffffff;

struct PendingProduct final : Pending {
    Warp* w = nullptr;
    const Step* s = nullptr;
    U64 a = 0, b = 0;
    bool adds = false;

    bool same(const PendingProduct& o) const {
        return s == o.s && a == o.a && b == o.b && adds == o.adds && group == o.group;
    }
    void happen() override;

private:
    Descriptor descriptor(U64 bits) const {
        if (bits >> 49 & 7)
            fault(*w, *s, -1, "bounds", "a base offset in a matrix descriptor, which the machine does not have");
        const auto mode = static_cast<U32>(bits >> 62);
        const auto field = [&](int at) { return static_cast<U32>(bits >> at & 0x3fff) << 4; };
        return {field(0), field(16), field(32), mode == 0 ? 0u : 4 - mode};
    }
    double element(const Descriptor& d, U32 mn, U32 k, bool mn_major) const;
    double value(U32 bits) const {
        const auto& p = detail<Product>(*s);
        if (p.format == Format::kHalf) return to_float(Half{static_cast<U16>(bits)});
        if (p.format == Format::kBFloat) return to_float(BFloat{static_cast<U16>(bits)});
        return bits_as<float>(bits & 0xffffe000);
    }
    void read_a(Factors* rows) const;
};

// Element (mn, k) of a matrix in shared memory (9.7.15.5.1, Shared Memory Matrix Layout).
double PendingProduct::element(const Descriptor& d, U32 mn, U32 k, bool mn_major) const {
    const U32 bytes = detail<Product>(*s).bytes(), per = 16 / bytes, span = 16u << d.swizzle;
    U32 at = d.start;
    if (!mn_major) {
        if (d.swizzle)
            at += mn / 8 * d.stride + mn % 8 * span + k * bytes;
        else
            at += mn / 8 * d.stride + mn % 8 * 16 + k / per * d.leading + k % per * bytes;
    } else {
        const U32 wide = span / bytes;
        if (d.swizzle)
            at += mn / wide * d.leading + mn % wide * bytes + k / 8 * d.stride + k % 8 * span;
        else
            at += mn / per * d.stride + mn % per * bytes + k / 8 * d.leading + k % 8 * 16;
    }
    at = swizzled(at, d.swizzle);
    Block& b = *w->block;
    if (at < kSharedBase || at - kSharedBase + bytes > b.shared.size()) {
        fault(*w, *s, -1, "bounds", "wgmma reads outside the block's shared memory", describe_shared(*w, at));
    }
    const uint8_t known = b.known[at - kSharedBase];
    const int lane = __builtin_ctz(w->living() ? w->living() : 1);
    if (known == kUnfenced)
        found(*w, *s, lane, "proxy", "wgmma reads shared memory that was written without fence.proxy.async since",
              describe_shared(*w, at));
    else if (known == kUnwritten)
        found(*w, *s, lane, "uninitialised", "wgmma reads shared memory that nothing has written",
              describe_shared(*w, at));
    else if (known == kInFlight)
        found(*w, *s, lane, "in flight", "wgmma reads shared memory that a copy has not filled yet",
              describe_shared(*w, at));
    if (w->worker->grid->settings.races && at % 16 < bytes) note_read(*w, *s, lane, Space::kShared, at & ~15u, 16, 0);
    U32 bits = 0;
    std::memcpy(&bits, &b.shared[at - kSharedBase], bytes);
    return value(bits);
}

void PendingProduct::read_a(Factors* rows) const {
    const auto& p = detail<Product>(*s);
    if (!p.a_in_registers) {
        const Descriptor d = descriptor(a);
        const U32 first = 16 * (w->id % 4);
        for (U32 r = 0; r < 16; ++r) {
            for (U32 k = 0; k < p.depth; ++k)
                rows[r].set(static_cast<int>(k), element(d, first + r, k, p.a_transposed));
        }
        return;
    }
    for (U32 l = 0; l < 32; ++l) {
        const U32 g = l / 4, t = l % 4;
        for (U32 r = 0; r < 4; ++r) {
            const U32 bits = w->lanes<U32>(s->op[p.sums() + r])[l], row = g + 8 * (r & 1);
            if (p.format == Format::kTf32) {
                rows[row].set(static_cast<int>(t + 4 * (r >> 1)), value(bits));
                continue;
            }
            const U32 k = 2 * t + 8 * (r >> 1);
            rows[row].set(static_cast<int>(k), value(bits & 0xffff));
            rows[row].set(static_cast<int>(k + 1), value(bits >> 16));
        }
    }
}

void PendingProduct::happen() {
    const auto& p = detail<Product>(*s);
    std::array<Factors, 16> rows;
    std::vector<Factors> columns(p.columns);
    read_a(rows.data());
    const Descriptor d = descriptor(b);
    for (U32 c = 0; c < p.columns; ++c) {
        for (U32 k = 0; k < p.depth; ++k)
            columns[c].set(static_cast<int>(k), (p.negate_b ? -1 : 1) * element(d, c, k, p.b_transposed));
    }
    for (Factors& f : rows) {
        for (U32 k = 0; k < p.depth && p.negate_a; ++k) f.value[k] = -f.value[k];
    }
    // Lane l has rows g and g + 8, and columns 2t and 2t + 1 of every 8 (9.7.15.5.2, accumulator fragments).
    for (U32 r = 0; r < p.columns / 2; ++r) {
        for (U32 l = 0; l < 32; ++l) {
            const U32 row = l / 4 + 8 * (r / 2 % 2), column = 8 * (r / 4) + 2 * (l % 4) + r % 2;
            if (!p.half_sums) {
                U32& held = w->accumulators.at(s->op[r])[l];
                held = bits_as<U32>(multiply_add(rows[row], columns[column], static_cast<int>(p.depth),
                                                 adds ? bits_as<float>(held) : 0.0f));
                continue;
            }
            U32& held = w->accumulators.at(s->op[r / 2])[l];
            const U32 shift = 16 * (r % 2);
            const float before = adds ? to_float(Half{static_cast<U16>(held >> shift)}) : 0.0f;
            const U32 half =
                nearest_half(multiply_add(rows[row], columns[column], static_cast<int>(p.depth), before)).bits;
            held = (held & ~(0xffffu << shift)) | half << shift;
        }
    }
}

// The registers of D are kept beside, and hold poison while the product is under way.
void hold(Warp& w, const Step& s) {
    for (U32 r = 0; r < detail<Product>(s).sums(); ++r) {
        U32* d = w.lanes<U32>(s.op[r]);
        const auto [it, fresh] = w.accumulators.try_emplace(s.op[r]);
        if (!fresh) continue;
        it->second.assign(d, d + 32);
        std::fill(d, d + 32, kPoison);
    }
}

// Gives the accumulators back that no product under way has.
void give_back(Warp& w, const Step& s) {
    std::map<uint32_t, bool> busy;
    for (const auto& p : w.products) {
        const Step& other = *static_cast<const PendingProduct*>(p.get())->s;
        for (U32 r = 0; r < detail<Product>(other).sums(); ++r) busy[other.op[r]] = true;
    }
    for (auto it = w.accumulators.begin(); it != w.accumulators.end();) {
        if (busy.count(it->first)) {
            ++it;
            continue;
        }
        U32* d = w.lanes<U32>(it->first);
        for (int l = 0; l < 32; ++l) {
            if (d[l] == kPoison) continue;
            found(w, s, l, "in flight", "a register of accumulators was written before wgmma.wait_group", "");
            break;
        }
        std::copy(it->second.begin(), it->second.end(), d);
        w.left[it->first] = std::move(it->second);
        it = w.accumulators.erase(it);
    }
}

// 9.7.15.7.1: wgmma.fence must come before the first product, and after other instructions have written accumulators or
// registers of A. Compilers move results from register to register, so that what counts is whether a product left it.
void check_fenced(Warp& w, const Step& s, bool adds) {
    if (w.registers_fenced) return;
    const auto& d = detail<Product>(s);
    bool kept = !w.left.empty() && !d.a_in_registers;
    for (U32 r = 0; r < d.sums() && kept && adds; ++r) {
        const U32* x = w.lanes<U32>(s.op[r]);
        kept = w.accumulators.count(s.op[r]) || std::any_of(w.left.begin(), w.left.end(), [&](const auto& result) {
                   return std::equal(x, x + 32, result.second.begin());
               });
    }
    if (kept) return;
    found(w, s, 0, "in flight", "wgmma on registers that other instructions have written, without wgmma.fence since",
          "");
    w.registers_fenced = true;  // it is said once
}

// op: D, A (4 registers or a descriptor), B, scale-d
void multiply(Warp& w, const Step& s, Mask lanes) {
    if (lanes != kFull) fault(w, s, -1, "divergence", format("expected all threads of a warp, got 0x%08x", lanes));
    const auto& d = detail<Product>(s);
    auto p = std::make_unique<PendingProduct>();
    p->w = &w;
    p->s = &s;
    p->group = w.product_commits;
    const uint32_t *a = s.op + d.sums(), *b = a + (d.a_in_registers ? 4 : 1);
    const auto uniform = [&](uint32_t place) {
        const U64* x = w.lanes<U64>(place);
        for (int l = 1; l < 32; ++l) {
            if (x[l] != x[0]) fault(w, s, l, "divergence", "matrix descriptors that differ within a warp");
        }
        return x[0];
    };
    if (!d.a_in_registers) p->a = uniform(a[0]);
    p->b = uniform(b[0]);
    const Mask adds = w.predicate(b[1]);
    if (adds && adds != kFull) fault(w, s, -1, "divergence", "scale-d that differs within a warp");
    p->adds = adds != 0;
    check_fenced(w, s, p->adds);
    hold(w, s);
    w.products.push_back(std::move(p));
}

void commit(Warp& w, const Step&, Mask) { ++w.product_commits; }

const PendingProduct& oldest(const Warp& w) { return *static_cast<const PendingProduct*>(w.products.front().get()); }

// A product is one operation of four warps, which reads for all of them. Whoever waits for it knows that all of it has
// been read: a thread of one warp may then give the memory back for the others.
void note_done(const std::vector<Warp*>& group) {
    for (Warp* o : group) {
        o->products_done.near.resize(o->clock.near.size());
        for (const Warp* other : group) o->products_done.near[other->number] = other->clock.near[other->number];
    }
    for (Warp* o : group) ++o->clock.near[o->number];
}

// `count`: the newest groups that may stay under way
void wait(Warp& w, const Step& s, Mask) {
    if (w.product_commits <= s.count) return;
    const U32 need = w.product_commits - s.count;
    std::vector<Warp*> group;
    for (Warp* o : w.block->warps) {
        if (o->id / 4 == w.id / 4) group.push_back(o);
    }
    if (group.size() != 4) fault(w, s, -1, "divergence", "wgmma without a whole warpgroup of 4 warps");
    for (const Warp* o : group) {
        if (o->product_commits >= need) continue;
        if (o->done) fault(w, s, -1, "divergence", format("warp %u of the warpgroup ends without this wgmma", o->id));
        --w.step;  // the warp comes here again
        w.stopped = w.spinning = true;
        return;
    }
    while (!group[0]->products.empty() && oldest(*group[0]).group < need) {
        for (const Warp* o : group) {
            if (o->products.empty() || !oldest(*o).same(oldest(*group[0])))
                fault(w, s, -1, "divergence", "wgmma that differs between the warps of a warpgroup");
        }
        for (Warp* o : group) {
            o->products.front()->happen();
            o->products.erase(o->products.begin());
        }
        if (w.worker->grid->settings.races) note_done(group);
        w.changed = true;
    }
    w.clock.join(w.products_done);
    w.registers_fenced = false;
    give_back(w, s);
}

// wgmma.mma_async.sync.aligned.m64nNkK.DTYPE.ATYPE.BTYPE d, a, b, scale-d, negate-a, negate-b{, transpose-a{,
// transpose-b}}
void build_multiply(Builder& b) {
    b.ignore({"sync", "aligned"});
    const std::string tb = b.type(), ta = b.type(1), td = b.type(2), shape = b.type(3);
    b.no_more_modifiers();
    Product p;
    p.columns = static_cast<U32>(std::stoul(shape.substr(4)));
    p.depth = static_cast<U32>(std::stoul(shape.substr(shape.find('k') + 1)));
    p.half_sums = td == "f16";
    if (ta != tb || (ta != "f16" && ta != "bf16" && ta != "tf32") || (td != "f32" && !(td == "f16" && ta == "f16"))) {
        throw Error("the machine does not have these types");
    }
    p.format = ta == "f16" ? Format::kHalf : ta == "bf16" ? Format::kBFloat : Format::kTf32;
    if (shape.rfind("m64n", 0) != 0 || p.columns % 8 || p.columns > 256 || p.depth != (ta == "tf32" ? 8u : 16u))
        throw Error("no such shape: ." + shape);
    p.a_in_registers = b.operand(1).kind == Operand::kVector;
    std::vector<uint32_t> places = b.places(b.operand(0), 4);
    if (places.size() != p.sums()) throw Error(format("expected %u accumulators, got %zu", p.sums(), places.size()));
    const std::vector<uint32_t> a = b.places(b.operand(1), p.a_in_registers ? 4 : 8);
    if (p.a_in_registers && a.size() != 4) throw Error(format("expected 4 registers of A, got %zu", a.size()));
    places.insert(places.end(), a.begin(), a.end());
    places.push_back(b.place(2, 8));
    places.push_back(b.place(3, kPredicate));
    p.negate_a = static_cast<int64_t>(b.integer(4)) < 0;
    p.negate_b = static_cast<int64_t>(b.integer(5)) < 0;
    if (ta != "tf32") {
        size_t next = 6;
        if (!p.a_in_registers) p.a_transposed = b.integer(next++);
        p.b_transposed = b.integer(next);
    }
    Step& s = b.emit(&multiply, places);
    b.attach<Product>(s) = p;
    b.kernel().async_proxy = true;
}

}  // namespace

void add_wgmma(Table& t) {
    t.section("9.7.15 wgmma.mma_async");
    t.family("wgmma.mma_async", build_multiply);
    t.section("9.7.15 wgmma.fence");
    t.family("wgmma.fence",
             [](Builder& b) { b.emit([](Warp& w, const Step&, Mask) { w.registers_fenced = true; }, {}); });
    t.section("9.7.15 wgmma.commit_group");
    t.family("wgmma.commit_group", [](Builder& b) { b.emit(&commit, {}); });
    t.section("9.7.15 wgmma.wait_group");
    t.family("wgmma.wait_group", [](Builder& b) {
        const auto kept = static_cast<uint8_t>(b.integer(0));
        b.emit(&wait, {}, Flow::kMayStop).count = kept;
    });
}

}  // namespace convgpu::ptx
