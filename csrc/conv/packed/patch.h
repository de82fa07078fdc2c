// How a block of the packed kernel copies a patch: the piece of x that the windows of one tile cover (packing.h).
#pragma once
#include "../../common/vector.h"
#include "../../device/ptx.h"
#include "packing.h"

namespace convgpu::conv {

// Tells where a tile begins in y: its image, plane, line and column.
struct PackedTile {
    int n, o, p, q;
};

__device__ __forceinline__ PackedTile tile_at(const Windows& x, const Packing& packing, uint32_t i) {
    const auto q = static_cast<int>(packing.by_tiles_w.short_split(i)) << packing.width_bits;
    const auto row = static_cast<int>(packing.by_tiles_h.short_split(i)) * packing.height();
    const auto o = static_cast<int>(x.d.by_windows.short_split(i));
    return {static_cast<int>(i), o, row, q};
}

// Returns the row of y that holds pixel `pixel` of a tile, where y is seen as a matrix of pixels times filters. The
// result is negative where the tile reaches beyond the edge of y.
__device__ __forceinline__ int row_of(const Windows& x, const Packing& packing, const PackedTile& tile, int pixel) {
    const int row = tile.p + (pixel >> packing.width_bits), q = tile.q + (pixel & (packing.width() - 1));
    if (row >= x.h.windows || q >= x.w.windows) return -1;
    return ((tile.n * x.d.windows + tile.o) * x.h.windows + row) * x.w.windows + q;
}

// Tells where the patch of a tile comes from, one granule after the other.
template <class T>
class PatchSource {
public:
    // One granule: its offset in the patch, the line of x that it comes from, which is null outside the image, and the
    // offset of its first byte in that line, which may lie outside the line.
    struct Granule {
        uint32_t to;
        const unsigned char* line;
        int at;
    };

    __device__ __forceinline__ PatchSource(const T* data, int channels, const Windows& x, const Packing& packing,
                                           const PackedTile& tile)
        : x_(x),
          packing_(packing),
          image_(reinterpret_cast<const unsigned char*>(data + tile.n * x.images.image)),
          d_(x.d.first + tile.o * x.d.stride),
          h_(x.h.first + tile.p * x.h.stride),
          first_((x.w.first + tile.q * x.w.stride) * channels * int(sizeof(T)) - packing.skew) {}

    __device__ __forceinline__ Granule operator()(int i, int bytes) const {
        auto line = static_cast<uint32_t>(i);
        const uint32_t in_line = packing_.by_granules.short_split(line);
        const uint32_t pixel = packing_.by_granules_of_pixel.short_quotient(in_line);
        const uint32_t to = line * packing_.line_bytes + in_line * bytes + pixel * packing_.gap;
        const int at = first_ + static_cast<int>(in_line) * bytes - static_cast<int>(pixel) * packing_.odd;
        const int h = h_ + static_cast<int>(packing_.by_lines.short_split(line));
        const int d = d_ + static_cast<int>(line) * x_.d.step;
        const bool inside = static_cast<unsigned>(d) < static_cast<unsigned>(x_.d.pixels) &&
                            static_cast<unsigned>(h) < static_cast<unsigned>(x_.h.pixels);
        return {to, inside ? image_ + x_.images.offset(d, h, 0) * int64_t(sizeof(T)) : nullptr, at};
    }

    __device__ __forceinline__ const unsigned char* image() const { return image_; }

private:
    const Windows& x_;
    const Packing& packing_;
    const unsigned char* image_;
    int d_, h_, first_;
};

// Starts to copy a patch asynchronously, and writes zeros where there is no pixel. Lines of the image end with whole
// granules, so that a granule lies either inside its line or outside of it.
template <int kBytes, class T>
__device__ __forceinline__ void copy_granules(unsigned char* patch, const PatchSource<T>& source, int count, int line) {
#pragma unroll 1
    for (int i = threadIdx.x; i < count; i += kPackedThreads) {
        const auto granule = source(i, kBytes);
        const bool inside = granule.line && static_cast<unsigned>(granule.at) < static_cast<unsigned>(line);
        ptx::cp_async<kBytes>(ptx::smem_addr(patch + granule.to), inside ? granule.line + granule.at : source.image(),
                              inside ? kBytes : 0);
    }
}

// Copies a patch whose lines start at any element, which asynchronous copies do not allow. Each word of the patch is
// loaded in two halves.
template <class T>
__device__ __forceinline__ void copy_elements(unsigned char* patch, const PatchSource<T>& source, int count, int line) {
    constexpr int kAtOnce = 8, kWord = 4;  // words that a thread waits for together, and bytes of a word
#pragma unroll 1
    for (int i = threadIdx.x; i < count; i += kAtOnce * kPackedThreads) {
        uint32_t to[kAtOnce];
        uint32_t element[kAtOnce][2];  // each half has a register of its own: two loads into one register would wait
                                       // for each other
#pragma unroll
        for (int j = 0; j < kAtOnce; ++j) {
            if (i + j * kPackedThreads >= count) continue;
            const auto granule = source(i + j * kPackedThreads, kWord);
            to[j] = granule.to;
#pragma unroll
            for (int half = 0; half < 2; ++half) {
                const int at = granule.at + half * int(sizeof(T));
                const bool inside = granule.line && static_cast<unsigned>(at) < static_cast<unsigned>(line);
                element[j][half] = inside ? __ldg(reinterpret_cast<const uint16_t*>(granule.line + at)) : 0u;
            }
        }
#pragma unroll
        for (int j = 0; j < kAtOnce; ++j) {
            if (i + j * kPackedThreads >= count) continue;
            const uint32_t word = __byte_perm(element[j][0], element[j][1], 0x5410);
            store(reinterpret_cast<uint32_t*>(patch + to[j]), Vector<uint32_t, 1>{word});
        }
    }
}

template <class T>
__device__ __forceinline__ void copy_patch(unsigned char* patch, const T* data, int channels, const Windows& x,
                                           const Packing& packing, const PackedTile& tile) {
    const PatchSource<T> source(data, channels, x, packing, tile);
    const int line = x.w.pixels * channels * static_cast<int>(sizeof(T));
    const int count = packing.planes * packing.lines * packing.granules;
    switch (packing.granule) {
        case 16:
            return copy_granules<16>(patch, source, count, line);
        case 8:
            return copy_granules<8>(patch, source, count, line);
        case 4:
            return copy_granules<4>(patch, source, count, line);
        default:
            return copy_elements(patch, source, count, line);
    }
}

}  // namespace convgpu::conv
