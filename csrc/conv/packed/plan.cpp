#include "plan.h"

#include <algorithm>
#include <numeric>
#include <optional>

#include "../../common/vector.h"
#include "../../hopper/plan.h"
#include "../problem/product.h"

namespace convgpu::conv {
namespace {

constexpr int kElement = 2, kWord = 4;  // bytes of an element, and of a word

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t rounded_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }

// Returns how many bytes to put between two pixels if windows lie `words` 4-byte words apart, so that no two lanes of a
// warp read from the same bank of shared memory. A warp reads 8 windows, and 4 neighbouring words of each. Shared
// memory has 32 banks, so these words lie in different banks if the windows are 4 words apart, or an odd multiple of 4
// words. (If the stride is a multiple of 8, the distance is an even multiple of 4 words whatever the gap, and two
// windows share a bank.)
int64_t gap_for_banks(int64_t words, int64_t stride) {
    return words % 8 == 0 ? 4 / std::gcd<int64_t>(stride, 4) * kWord : 0;
}

// Returns the size of the largest copy that divides these numbers of bytes and may start at this alignment.
int granule_of(int alignment, int64_t a, int64_t b) {
    int granule = 16;
    while (alignment % granule || a % granule || b % granule) granule /= 2;
    return granule;
}

// Returns the packing for tiles whose lines are 1 << width_bits pixels long, over an x of this alignment. Returns
// nothing if a patch would be too large.
std::optional<Packing> packing_of(const ConvGeometry& geo, int width_bits, int alignment) {
    const Axis d = axis_of(geo, 0), h = axis_of(geo, 1), w = axis_of(geo, 2);
    const int64_t pixel = geo.channels * kElement, line = w.pixels * pixel, window = w.stride * pixel;
    Packing packing;
    packing.width_bits = width_bits;
    packing.by_tiles_w = Divisor(ceil_div(w.outputs, packing.width()));
    packing.by_tiles_h = Divisor(ceil_div(h.outputs, packing.height()));

    // Pixels lie as in memory if windows then start at whole words in different banks. Otherwise they are kept apart.
    const bool neighbours = w.dilation == 1 && window % kWord == 0 && window / kWord % 8 != 0;
    const int64_t apart = rounded_up(pixel, kWord);
    const int64_t gap = neighbours ? 0 : apart - pixel + gap_for_banks(w.stride * apart / kWord, w.stride);
    packing.lines_of_filter = neighbours;

    // Whether a run begins with an element before its window must not depend on where x happens to start. Otherwise the
    // order of summation, and so the bits of the result, would depend on it.
    const int64_t granule_if_aligned = granule_of(kFullAlignment, line, line),
                  before = int64_t(w.before) * pixel % granule_if_aligned;
    const int64_t skew = gap || before == 0 ? 0 : granule_if_aligned - before;
    packing.granule = gap ? granule_of(alignment, pixel, pixel + gap) : granule_of(alignment, line, line);
    const int64_t pixels = int64_t(packing.width() - 1) * w.stride + int64_t(w.taps - 1) * w.dilation + 1;
    const int64_t slice = std::max(packing.granule, kWord), copied = packing.granule == 2 && gap ? apart : pixel;
    const int64_t granules = ceil_div(skew + pixels * copied, slice);
    const int64_t lines = int64_t(packing.height() - 1) * h.stride + int64_t(h.taps - 1) * h.dilation + 1;
    const int64_t run = (packing.lines_of_filter ? w.taps : 1) * geo.channels, lead = skew / kElement % 2;
    const int64_t pairs = ceil_div(lead + run, 2), runs = geo.taps() * geo.channels / run;
    // The last pair may reach one element beyond the granules; one more word leaves room for it.
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

// Estimates the kernel's clocks, by the unit that is busiest (docs/performance.md). In one clock the tensor cores of a
// multiprocessor do 2048 multiply-adds, its shared memory gives 128 bytes, its threads issue 4 instructions of a warp,
// and the memory moves 2700 bytes for all multiprocessors. If few blocks share a multiprocessor, the time that a single
// block takes by itself counts instead.
double clocks_of(const ConvGeometry& geo, const PackedPlan& plan, const Device& device) {
    const Packing& packing = plan.packing;
    const auto number = [](int64_t count) { return static_cast<double>(count); };
    const int64_t columns = ceil_div(geo.filters, plan.tile_n), tiles = tiles_of(packing, geo, geo.batch) * columns;
    const int64_t copies = int64_t(packing.planes) * packing.lines * packing.granules;
    const double filters = number(std::min<int64_t>(plan.tile_n, geo.filters)), steps = packing.depth / 16.0;
    // For each step, a warpgroup reads the filters once, and each of its four warps loads five times.
    const double shared = 2 * steps * (plan.tile_n * 32 / 128.0 + 20) + 4 * filters + packing.patch_bytes() / 128.0;
    // Two warps share a quarter of a multiprocessor, and these are the instructions that both issue to write their
    // results, of 16 pixels each.
    const double leaves = 2 * (80 + 4 * filters);
    const double issued = number(copies) * 65 / 128 + steps * 2 * 18 + leaves;
    // A block that is alone on a multiprocessor waits for elements that are loaded through registers, eight words of a
    // thread at a time, and it waits for the end of each step of 32.
    const double loaded = packing.granule == 2 ? 700 * number(ceil_div(copies, 8 * kPackedThreads)) : 0;
    const double alone = loaded + steps / 2 * (plan.tile_n + 120) + leaves + 300;
    const double tile = std::max({2 * steps * plan.tile_n / 2, shared, issued, alone / plan.resident});
    const double before = 2000 + packing.depth * plan.tile_n * 2 / 64.0;  // loads filters and the first patch
    const double bytes = number(kElement * geo.batch) * (number(geo.input_pixels() * geo.channels * columns) +
                                                         number(geo.output_pixels() * geo.filters));
    return before + std::max(number(ceil_div(tiles, device.multiprocessors)) * tile, bytes / 2700);
}

// Estimates the clocks of the tiled kernel, whose pace is set by the instructions that its threads issue. It reaches
// 38% of what the tensor cores could do if pixels are loaded in vectors, and half of that (an assumption) if they are
// loaded one by one.
double clocks_of_tiled(const ConvGeometry& geo, const Device& device) {
    const double rate = 2048 * (geo.channels % 8 == 0 && geo.filters % 8 == 0 ? 0.38 : 0.19);
    const int64_t tiles = ceil_div(geo.batch * geo.output_pixels(), 64) * ceil_div(geo.filters, 64);
    const auto K = static_cast<double>(rounded_up(geo.taps() * geo.channels, 64));  // rounded up to whole steps
    const auto each = static_cast<double>(ceil_div(tiles, device.multiprocessors));
    return 1000 + each * (64 * 64 * K / rate + 300);
}

const char* refusal_of(const ConvGeometry& geo, DType dtype, const Device& device) {
    constexpr int64_t kMost = int64_t(1) << 30;      // bytes along a line
    constexpr int64_t kMostColumns = (1 << 16) - 1;  // blocks along one axis of a grid
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

PackedPlan plan_packed(const Problem& problem, const Device& device) {
    const ConvGeometry& geo = problem.geo;
    PackedPlan best;
    best.refusal = refusal_of(geo, problem.dtype, device);
    if (best.refusal) return best;
    best.refusal = "windows_beyond_shared_memory";
    const auto most = static_cast<int64_t>(device.shared_bytes);
    for (const int width_bits : {4, 3, 5, 6, 7}) {
        const std::optional<Packing> packing = packing_of(geo, width_bits, kFullAlignment);
        if (!packing) continue;
        if (best.refusal) best.refusal = "filters_beyond_shared_memory";
        for (const int tile_n : {64, 128}) {
            if (bytes_of(*packing, tile_n) > most) continue;
            constexpr int64_t kReserved = 1 << 10;  // bytes that every block takes beside its own
            const int64_t fit = (most + kReserved) / (bytes_of(*packing, tile_n) + kReserved);
            PackedPlan plan{nullptr, *packing, tile_n, static_cast<int>(std::min(fit, packed_resident(tile_n)))};
            plan.clocks = clocks_of(geo, plan, device);
            if (best.refusal || plan.clocks < best.clocks) best = plan;
        }
    }
    if (!best.refusal && best.clocks >= clocks_of_tiled(geo, device)) best.refusal = "too_little_to_multiply";
    if (best.refusal) return best;
    // The choice is made as for an aligned x, whose patch takes the most memory. For another x only the copies differ.
    best.packing = *packing_of(geo, best.packing.width_bits, problem.alignment);
    best.images = product_of(problem, nullptr).images;
    const int64_t columns = ceil_div(geo.filters, best.tile_n);
    best.blocks = static_cast<int>(std::max<int64_t>(device.multiprocessors * best.resident / columns, 1));
    return best;
}

std::string PackedPlan::text() const {
    return "conv_fprop_packed tile=" + std::to_string(packing.height()) + "x" + std::to_string(packing.width()) + "x" +
           std::to_string(tile_n) + " depth=" + std::to_string(packing.depth) +
           " copies=" + std::to_string(packing.granule) + " blocks=" + std::to_string(resident);
}

}  // namespace convgpu::conv
