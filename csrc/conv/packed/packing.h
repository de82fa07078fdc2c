// This file says how the packed kernel sees x: as windows over few channels that are a factor for Hopper's tensor
// cores.
//
// The wgmma kernels spend a whole line of 64 channels on each tap (wgmma/panels.h). For a first layer (a stem) with 3
// channels, 95% of that would be zeros. The packed kernel counts only the elements that exist, packed one behind the
// other:
//
// - A patch is the piece of x that the 128 windows of one tile cover, in shared memory. It is copied once, and read as
//   often as windows overlap.
// - A pair is two neighbouring elements of a patch: 4 bytes, one register of the factor. Threads load pairs from the
//   patch straight into the registers that wgmma reads.
// - A run is a piece of a window whose elements are neighbours in x. Without dilation the taps and channels of one line
//   of the filter are such a run: 7 taps of 3 channels are 21 elements, or 11 pairs. With dilation, each tap is a run
//   by itself.
//
// So the depth of the sums counts runs, and in each run its pairs, in the order in which the weights lie in w.
//
// A pair must start at a multiple of 4 bytes, and so must every window. In two cases the pixels are therefore kept
// apart in the patch, by a gap: if windows would not start at such multiples (because an odd number of elements lies
// between them), and if they lie at such a distance that the lanes of a warp would read from few banks of shared
// memory. Lines are copied in granules: pieces of 2, 4, 8 or 16 bytes that start at multiples of their own size. A
// granule may therefore bring elements from before the window (`lead`), and the last pair may hold an element from
// after it. The weights of these elements are zeros. Since zero times Inf is NaN, a sum that comes out as NaN is
// computed again from the products that exist, as are those NaNs that padding may have caused (problem/mend.h).
#pragma once
#include "../problem/windows.h"

namespace convgpu::conv {

constexpr int kPackedPixels = 128;        // pixels of a tile: a warpgroup has 64 of them, a warp 16
constexpr int kPackedThreads = 256;       // threads of a block
constexpr int kPackedStep = 32;           // elements of the depth that are multiplied at a time
constexpr int kPlaceBytes = 1;            // bytes in the table of places for each element of the depth
constexpr int kMostPatchBytes = 1 << 16;  // so that 16 bits can hold a place in a patch

// Returns for how many blocks a multiprocessor has registers.
constexpr int64_t packed_resident(int tile_n, bool normed = false) { return tile_n == 64 && !normed ? 3 : 2; }

struct Packing {
    // A tile is a rectangle of kPackedPixels pixels of one plane of y, 1 << width_bits of them wide.
    int width_bits = 0;
    Divisor by_tiles_w, by_tiles_h;

    // The patch has a plane for each tap in depth. All lengths here are in bytes.
    int planes = 1, lines = 0, line_bytes = 0, pixel_bytes = 0;
    int skew = 0;                    // bytes in a line before its first window
    int granule = 16, granules = 0;  // bytes of a copy, and copies of a line (or words of it, if granule is 2)
    int gap = 0;                     // bytes between the granules of two pixels in the patch
    int odd = 0;                     // bytes in the granules of a pixel that belong to the next pixel
    Divisor by_lines, by_granules, by_granules_of_pixel;

    // The depth of the sums is counted in whole steps.
    int run = 0;                   // elements of a run that lie in a window
    int lead = 0;                  // elements of a run before these
    int pairs = 0;                 // pairs of a run
    int runs = 0;                  // runs of a window
    int depth = 0;                 // elements of the depth
    bool lines_of_filter = false;  // whether a run is a line of the filter; else it is a single tap
    Divisor by_pairs;

    __device__ __host__ __forceinline__ int width() const { return 1 << width_bits; }
    __device__ __host__ __forceinline__ int height() const { return kPackedPixels >> width_bits; }
    __device__ __host__ __forceinline__ int patch_bytes() const { return planes * lines * line_bytes; }
};

// The shared memory of a block holds one piece after the other. First come its filters, in panels that are as long as
// the depth and swizzled as hopper/operand.h says. Then come the bias, the table of places, which tells where each pair
// lies, and two patches, one of which is multiplied while the other is copied.
template <class T, int kTileN>
struct PackedMemory {
    unsigned char* begin;
    const Packing& packing;

    static constexpr int kLine = 128;  // bytes of a panel's line, which has 64 filters
    static_assert(sizeof(T) * 64 == kLine, "half types");

    __device__ __host__ __forceinline__ int panel_bytes() const { return packing.depth * kLine; }
    __device__ __forceinline__ unsigned char* filters() const { return begin; }
    __device__ __forceinline__ float* bias() const { return reinterpret_cast<float*>(begin + bias_at()); }
    // For every window and 16 elements of the depth, a quad of lanes loads 8 pairs: lane t loads the pairs t and t + 4.
    // One word holds the places of both in the patch, counted from the start of the window, in 16 bits each.
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
