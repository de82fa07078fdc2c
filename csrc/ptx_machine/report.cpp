#include <cctype>

#include "machine.h"

namespace convgpu::ptx {
namespace {

Place place(const Kernel& k, const Grid& grid, uint32_t step, uint64_t block, uint32_t thread) {
    const Origin& origin = k.origins[step];
    Place p;
    p.known = true;
    p.opcode = origin.opcode;
    p.ptx_line = origin.line;
    p.line = origin.source.line;
    if (origin.source.file < k.files.size()) p.file = k.files[origin.source.file];
    p.block[0] = static_cast<uint32_t>(block % grid.blocks[0]);
    p.block[1] = static_cast<uint32_t>(block / grid.blocks[0] % grid.blocks[1]);
    p.block[2] = static_cast<uint32_t>(block / grid.blocks[0] / grid.blocks[1]);
    p.thread[0] = thread % grid.threads[0];
    p.thread[1] = thread / grid.threads[0] % grid.threads[1];
    p.thread[2] = thread / grid.threads[0] / grid.threads[1];
    return p;
}

uint64_t linear(const uint32_t index[3], const uint32_t size[3]) {
    return index[0] + uint64_t(size[0]) * (index[1] + uint64_t(size[1]) * index[2]);
}

}  // namespace

Place place_of(const Warp& w, const Step& s, int lane) {
    if (lane < 0) lane = w.active ? __builtin_ctz(w.active) : 0;
    const Grid& grid = *w.cluster->grid;
    return place(*w.kernel, grid, s.number, linear(w.block->index, grid.blocks),
                 32 * w.id + static_cast<uint32_t>(lane));
}

void fault(const Warp& w, const Step& s, int lane, const char* kind, const std::string& message,
           const std::string& address) {
    Finding f;
    f.kind = kind;
    f.message = message;
    f.kernel = w.kernel->name;
    f.address = address;
    f.place = place_of(w, s, lane);
    throw Fault(std::move(f));
}

void found(Warp& w, const Step& s, int lane, const char* kind, const std::string& message, const std::string& address,
           const Access* other) {
    // Loops that are unrolled repeat instructions: where the source is known, its lines tell what is the same.
    const auto line = [&](uint32_t step) {
        const Origin& o = w.kernel->origins[step];
        return o.source.line ? o.source.line : o.line;
    };
    const auto key = std::make_tuple(std::string(kind) + message, line(s.number), other ? line(other->step) : 0);
    const auto [it, fresh] = w.worker->report.findings.try_emplace(key);
    Finding& f = it->second;
    if (!fresh) {
        ++f.times;
        return;
    }
    f.kind = kind;
    f.message = message;
    f.kernel = w.kernel->name;
    f.address = address;
    f.place = place_of(w, s, lane);
    if (!other) return;
    // Units count the warps of blocks in the order in which clusters run.
    const Grid& grid = *w.cluster->grid;
    const auto warps = static_cast<uint32_t>(w.block->warps.size()),
               size = static_cast<uint32_t>(w.cluster->blocks.size());
    const uint64_t cluster = other->unit / warps / size, rank = other->unit / warps % size;
    uint32_t index[3];
    uint64_t left = cluster, inside = rank;
    for (int d = 0; d < 3; ++d) {
        const uint32_t clusters = grid.blocks[d] / grid.cluster[d];
        index[d] = static_cast<uint32_t>(left % clusters * grid.cluster[d] + inside % grid.cluster[d]);
        left /= clusters;
        inside /= grid.cluster[d];
    }
    f.other = place(*w.kernel, grid, other->step, linear(index, grid.blocks), other->unit % warps * 32 + other->lane);
}

namespace {

// _ZZ3sumE5parts, a variable within a function of C++: parts
std::string plain_name(const std::string& mangled) {
    if (mangled.rfind("_Z", 0) != 0) return mangled;
    std::string last;
    for (size_t at = 2; at < mangled.size();) {
        if (!std::isdigit(static_cast<unsigned char>(mangled[at]))) {
            ++at;
            continue;
        }
        size_t digits = 0;
        const size_t size = std::stoul(mangled.substr(at), &digits);
        if (at + digits + size > mangled.size()) return mangled;
        last = mangled.substr(at + digits, size);
        at += digits + size;
    }
    return last.empty() ? mangled : last;
}

}  // namespace

std::string describe_shared(const Warp& w, uint32_t address) {
    const auto offset = static_cast<int64_t>(address & kRankMask) - kSharedBase;
    for (const SharedName& v : w.kernel->shared) {
        if (offset >= v.at && offset < static_cast<int64_t>(v.at + v.size)) {
            return format("shared %s + %ld bytes", plain_name(v.name).c_str(), static_cast<long>(offset - v.at));
        }
    }
    if (offset >= w.kernel->dynamic_at && !w.kernel->shared.empty() && !w.kernel->shared.back().size) {
        return format("shared %s + %ld bytes", plain_name(w.kernel->shared.back().name).c_str(),
                      static_cast<long>(offset - w.kernel->dynamic_at));
    }
    return format("shared memory + %ld bytes", static_cast<long>(offset));
}

}  // namespace convgpu::ptx
