// Windows over few channels as a factor on Hopper: packed, where a line of TMA for each tap (panels.h) would be empty
// by half or more.
//
// A block keeps the pixels that its windows cover in shared memory, the patch, and its threads gather the factor from
// there, in pairs: two neighbouring elements of a line, one register. Pairs come in runs. A run is the taps and
// channels of one line of the filter as they lie in the image, or else the channels of one tap; the depth of the sums
// counts runs, pair after pair, in the order of their weights.
//
// Pairs start at multiples of 4 bytes, and so must windows: where they begin at any element, and where they lie so far
// apart that lanes would meet in few banks, a gap keeps pixels apart. Lines are copied in granules, from a multiple of
// their size on. So a run may begin with an element before its window (lead), and end with one after it; their weights
// are zeros. Zero times Inf is NaN: such a sum is computed again, as are those that padding spoils (mend).
#pragma once
#include "../problem/windows.h"

namespace convgpu::conv {

constexpr int kPackedPixels = 128, kPackedThreads = 256;  // of a tile: 64 of one warpgroup, 16 of one warp
constexpr int kPackedStep = 32;                           // of the depth at a time
constexpr int kPlaceBytes = 1;                            // of the table of places, for each of the depth
constexpr int kMostPatchBytes = 1 << 16;

// Blocks that a multiprocessor has registers for.
constexpr int64_t packed_resident(int tile_n) { return tile_n == 64 ? 3 : 2; }

struct Packing {
    int width_bits = 0;  // a tile is kPackedPixels of one plane of y, in lines of 1 << width_bits
    Divisor by_tiles_w, by_tiles_h;

    // The patch: a plane for each tap in depth. Bytes.
    int planes = 1, lines = 0, line_bytes = 0, pixel_bytes = 0;
    int skew = 0;                    // of a line, before its first window
    int granule = 16, granules = 0;  // granule 2: words of two elements, which `granules` counts
    int gap = 0, odd = 0;            // after a pixel's granules: of the patch; and what of them is the next pixel's
    Divisor by_lines, by_granules, by_granules_of_pixel;

    // The depth, in whole steps. Elements; of `run` those of the image.
    int run = 0, lead = 0, pairs = 0, runs = 0, depth = 0;
    bool lines_of_filter = false;  // runs are these, else single taps
    Divisor by_pairs;

    __device__ __host__ __forceinline__ int width() const { return 1 << width_bits; }
    __device__ __host__ __forceinline__ int height() const { return kPackedPixels >> width_bits; }
    __device__ __host__ __forceinline__ int patch_bytes() const { return planes * lines * line_bytes; }
};

// What a block holds: filters, swizzled as hopper/operand.h says with lines of k, the panels as long as the depth; the
// bias; where each pair lies; two patches.
template <class T, int kTileN>
struct PackedMemory {
    unsigned char* begin;
    const Packing& packing;

    static constexpr int kLine = 128;  // bytes of a panel's line: 64 filters
    static_assert(sizeof(T) * 64 == kLine, "half types");

    __device__ __host__ __forceinline__ int panel_bytes() const { return packing.depth * kLine; }
    __device__ __forceinline__ unsigned char* filters() const { return begin; }
    __device__ __forceinline__ float* bias() const { return reinterpret_cast<float*>(begin + bias_at()); }
    // Of the two pairs that lane t of four gathers of a window for 16 of the depth, t and t + 4, their offsets in the
    // patch, of 16 bits each.
    __device__ __forceinline__ uint32_t* places() const { return reinterpret_cast<uint32_t*>(begin + places_at()); }
    __device__ __forceinline__ unsigned char* patch(int i) const {
        return begin + patch_at() + i * packing.patch_bytes();
    }
    int bytes() const { return patch_at() + 2 * packing.patch_bytes(); }

private:
    __device__ __host__ __forceinline__ int bias_at() const { return kTileN / 64 * panel_bytes(); }
    __device__ __host__ __forceinline__ int places_at() const { return bias_at() + kTileN * int(sizeof(float)); }
    __device__ __host__ __forceinline__ int patch_at() const { return places_at() + packing.depth * kPlaceBytes; }
};

}  // namespace convgpu::conv
