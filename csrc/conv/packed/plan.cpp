#include "plan.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "../../common/vector.h"
#include "../../hopper/plan.h"

namespace convgpu::conv {
namespace {

constexpr int kElement = 2, kWord = 4;  // bytes

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t rounded_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// Bytes that keep a pixel's words from those of the next, where windows lie `words` apart: eight rows of four lanes
// each read different banks of 32 if the windows are 4 words apart, or an odd multiple of 4. (Of strides that 8 divides
// they are an even multiple whatever the gap: two rows share a bank.)
int64_t gap_for_banks(int64_t words, int64_t stride) {
    return words % 8 == 0 ? 4 / std::gcd<int64_t>(stride, 4) * kWord : 0;
}

// The largest copy from an address on that divides these bytes.
int granule_of(uintptr_t address, int64_t a, int64_t b) {
    int granule = 16;
    while (address % granule || a % granule || b % granule) granule /= 2;
    return granule;
}

// Of tiles whose lines are 1 << width_bits long; nothing where a patch would be too large.
std::optional<Packing> packing_of(const ConvGeometry& geo, int width_bits, uintptr_t address) {
    const Axis d = axis_of(geo, 0), h = axis_of(geo, 1), w = axis_of(geo, 2);
    const int64_t pixel = geo.channels * kElement, line = w.pixels * pixel, window = w.stride * pixel;
    Packing packing;
    packing.width_bits = width_bits;
    packing.by_tiles_w = Divisor(ceil_div(w.outputs, packing.width()));
    packing.by_tiles_h = Divisor(ceil_div(h.outputs, packing.height()));

    // As in memory, if windows then start at whole words in different banks; else pixels are kept apart.
    const bool neighbours = w.dilation == 1 && window % kWord == 0 && window / kWord % 8 != 0;
    const int64_t apart = rounded_up(pixel, kWord);
    const int64_t gap = neighbours ? 0 : apart - pixel + gap_for_banks(w.stride * apart / kWord, w.stride);
    packing.lines_of_filter = neighbours;

    // Where a run begins with an element before its window must not depend on where x happens to start.
    const int64_t granule_if_aligned = granule_of(0, line, line),
                  before = int64_t(w.before) * pixel % granule_if_aligned;
    const int64_t skew = gap || before == 0 ? 0 : granule_if_aligned - before;
    packing.granule = gap ? granule_of(address, pixel, pixel + gap) : granule_of(address, line, line);
    const int64_t pixels = int64_t(packing.width() - 1) * w.stride + int64_t(w.taps - 1) * w.dilation + 1;
    const int64_t slice = std::max(packing.granule, kWord), copied = packing.granule == 2 && gap ? apart : pixel;
    const int64_t granules = ceil_div(skew + pixels * copied, slice);
    const int64_t lines = int64_t(packing.height() - 1) * h.stride + int64_t(h.taps - 1) * h.dilation + 1;
    const int64_t run = (packing.lines_of_filter ? w.taps : 1) * geo.channels, lead = skew / kElement % 2;
    const int64_t pairs = ceil_div(lead + run, 2), runs = geo.taps() * geo.channels / run;
    // The last pair may reach an element beyond the granules.
    const int64_t line_bytes = rounded_up(granules * slice + pixels * (pixel + gap - copied) + kWord, kVectorBytes);
    constexpr int64_t kMost = kMostPatchBytes, kMostPairs = 1 << 16;
    if (line_bytes > kMost || lines > kMost || d.taps > kMost || d.taps * lines * line_bytes > kMost) return {};
    if (runs > kMostPairs || pairs > kMostPairs || runs * pairs > kMostPairs) return {};
    packing.planes = d.taps;
    packing.lines = static_cast<int>(lines);
    packing.line_bytes = static_cast<int>(line_bytes);
    packing.pixel_bytes = static_cast<int>(pixel + gap);
    packing.skew = static_cast<int>(skew);
    packing.granules = static_cast<int>(granules);
    packing.gap = static_cast<int>(pixel + gap - copied);
    packing.odd = static_cast<int>(copied - pixel);
    packing.by_lines = Divisor(lines);
    packing.by_granules = Divisor(granules);
    packing.by_granules_of_pixel = Divisor(std::max<int64_t>(copied / slice, 1));
    packing.run = static_cast<int>(run);
    packing.lead = static_cast<int>(lead);
    packing.pairs = static_cast<int>(pairs);
    packing.runs = static_cast<int>(runs);
    packing.depth = static_cast<int>(rounded_up(2 * runs * pairs, kPackedStep));
    packing.by_pairs = Divisor(pairs);
    return packing;
}

int64_t bytes_of(const Packing& packing, int tile_n) {
    return tile_n == 64 ? PackedMemory<uint16_t, 64>{nullptr, packing}.bytes()
                        : PackedMemory<uint16_t, 128>{nullptr, packing}.bytes();
}

// Clocks by the unit that is busiest (docs/performance.md): the tensor cores do 2048 multiply-adds, shared memory gives
// 128 bytes, threads issue 4 instructions of a warp, the memory moves 2700 bytes for all; or by what a block waits for,
// where too few share a multiprocessor.
double clocks_of(const ConvGeometry& geo, const PackedPlan& plan, const Device& device) {
    const Packing& packing = plan.packing;
    const auto number = [](int64_t count) { return static_cast<double>(count); };
    const int64_t columns = ceil_div(geo.filters, plan.tile_n), tiles = tiles_of(packing, geo, geo.batch) * columns;
    const int64_t copies = int64_t(packing.planes) * packing.lines * packing.granules;
    const double filters = number(std::min<int64_t>(plan.tile_n, geo.filters)), steps = packing.depth / 16.0;
    // Of each step and warpgroup: the filters, and five loads of each of four warps.
    const double shared = 2 * steps * (plan.tile_n * 32 / 128.0 + 20) + 4 * filters + packing.patch_bytes() / 128.0;
    const double leaves = 2 * (80 + 4 * filters);  // issued for the results of 16 pixels, by two of a quarter's warps
    const double issued = number(copies) * 65 / 128 + steps * 2 * 18 + leaves;
    // Elements that are loaded through registers, eight words of a thread at once; and steps of 32, each to its end.
    const double loaded = packing.granule == 2 ? 700 * number(ceil_div(copies, 8 * kPackedThreads)) : 0;
    const double alone = loaded + steps / 2 * (plan.tile_n + 120) + leaves + 300;
    const double tile = std::max({2 * steps * plan.tile_n / 2, shared, issued, alone / plan.resident});
    const double before = 2000 + packing.depth * plan.tile_n * 2 / 64.0;  // the filters, and the first patch
    const double bytes = number(kElement * geo.batch) * (number(geo.input_pixels() * geo.channels * columns) +
                                                         number(geo.output_pixels() * geo.filters));
    return before + std::max(number(ceil_div(tiles, device.multiprocessors)) * tile, bytes / 2700);
}

// Of the tiled kernel, by what its threads issue: where vectors load the pixels 38% of what the tensor cores could do,
// one element at a time half of it (an assumption).
double clocks_of_tiled(const ConvGeometry& geo, const Device& device) {
    const double rate = 2048 * (geo.channels % 8 == 0 && geo.filters % 8 == 0 ? 0.38 : 0.19);
    const int64_t tiles = ceil_div(geo.batch * geo.output_pixels(), 64) * ceil_div(geo.filters, 64);
    const auto K = static_cast<double>(rounded_up(geo.taps() * geo.channels, 64));  // its steps
    const auto each = static_cast<double>(ceil_div(tiles, device.multiprocessors));
    return 1000 + each * (64 * 64 * K / rate + 300);
}

const char* refusal_of(const ConvGeometry& geo, DType dtype, const Device& device) {
    constexpr int64_t kMost = int64_t(1) << 30;      // bytes along a line
    constexpr int64_t kMostColumns = (1 << 16) - 1;  // of blocks, in a grid
    if (const char* refusal = hopper::refusal(1, dtype, true, device)) return refusal;
    if (geo.groups > 1) return "groups";
    const Axis w = axis_of(geo, 2);
    const int64_t windows = (int64_t(w.outputs) + kPackedPixels) * w.stride + int64_t(w.taps) * w.dilation;
    const int64_t reach = w.before + std::max<int64_t>(w.pixels, windows);
    if (ceil_div(geo.filters, 64) > kMostColumns) return "more_filters_than_a_grid_counts";
    return reach * geo.channels * kElement > kMost ? "lines_that_32_bits_do_not_count" : nullptr;
}

}  // namespace

int64_t tiles_of(const Packing& packing, const ConvGeometry& geo, int64_t images) {
    const Axis d = axis_of(geo, 0), h = axis_of(geo, 1), w = axis_of(geo, 2);
    return images * d.outputs * ceil_div(h.outputs, packing.height()) * ceil_div(w.outputs, packing.width());
}

PackedPlan plan_packed(const ConvGeometry& geo, DType dtype, const Device& device, const void* x) {
    PackedPlan best;
    best.refusal = refusal_of(geo, dtype, device);
    if (best.refusal) return best;
    best.refusal = "windows_beyond_shared_memory";
    const auto most = static_cast<int64_t>(device.shared_bytes);
    for (const int width_bits : {4, 3, 5, 6, 7}) {
        const std::optional<Packing> packing = packing_of(geo, width_bits, 0);
        if (!packing) continue;
        if (best.refusal) best.refusal = "filters_beyond_shared_memory";
        for (const int tile_n : {64, 128}) {
            if (bytes_of(*packing, tile_n) > most) continue;
            constexpr int64_t kReserved = 1 << 10;  // bytes of each block
            const int64_t fit = (most + kReserved) / (bytes_of(*packing, tile_n) + kReserved);
            PackedPlan plan{nullptr, *packing, tile_n, static_cast<int>(std::min(fit, packed_resident(tile_n)))};
            plan.clocks = clocks_of(geo, plan, device);
            if (best.refusal || plan.clocks < best.clocks) best = plan;
        }
    }
    if (!best.refusal && best.clocks >= clocks_of_tiled(geo, device)) best.refusal = "too_little_to_multiply";
    // Nowhere does a patch take more than where x is aligned.
    if (!best.refusal) best.packing = *packing_of(geo, best.packing.width_bits, reinterpret_cast<uintptr_t>(x));
    return best;
}

std::string PackedPlan::text() const {
    return "conv_fprop_packed tile=" + std::to_string(packing.height()) + "x" + std::to_string(packing.width()) + "x" +
           std::to_string(tile_n) + " depth=" + std::to_string(packing.depth) +
           " copies=" + std::to_string(packing.granule) + " blocks=" + std::to_string(resident);
}

}  // namespace convgpu::conv
