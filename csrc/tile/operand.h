// The factors of a tiled product: where their elements are in memory, and how a block brings them to shared memory.
//
// A product is y[m, n] = sum over k of a[m, k] * b[n, k]. Both factors are seen as matrices of rows times depth,
// whatever lies in memory. A source tells where the elements are: Row row(int) and Depth depth(int) decode an index
// once, and at(Row, Depth) is the address of an element. The address is null where there is no element (beyond the edge
// of a matrix, or of an image), and such an element counts as zero. kAlongDepth tells whether elements are neighbours
// in memory along the depth or along the rows. A vector of V elements lies in that direction and starts at a multiple
// of V; either all of its elements exist or none.
#pragma once
#include "../common/vector.h"
#include "../device/ptx.h"

namespace convgpu::tile {

constexpr int kThreads = 256;  // threads of a block
template <class T>
constexpr int kFullVector = kVectorBytes / sizeof(T);

// A matrix with `rows` rows. Element (row, k) lies at row * stride + k if AlongDepth holds, else at row + k * stride.
template <class T, bool AlongDepth>
struct MatrixSource {
    using Element = T;
    static constexpr bool kAlongDepth = AlongDepth;
    struct Row {
        int64_t offset;
        bool inside;
    };
    using Depth = Row;

    const T* data;
    int64_t stride;
    int rows, length;  // `length` is the length of the depth

    __device__ __forceinline__ Row row(int i) const { return {AlongDepth ? i * stride : i, i < rows}; }
    __device__ __forceinline__ Depth depth(int k) const { return {AlongDepth ? k : k * stride, k < length}; }
    __device__ __forceinline__ const T* at(const Row& r, const Depth& d) const {
        return r.inside && d.inside ? data + r.offset + d.offset : nullptr;
    }
    // Tells whether elements may be missing before the end of a row.
    __device__ __forceinline__ bool has_holes() const { return false; }
};

// A source whose rows and depth are exchanged.
template <class Source>
struct Transposed {
    using Element = typename Source::Element;
    static constexpr bool kAlongDepth = !Source::kAlongDepth;
    using Row = typename Source::Depth;
    using Depth = typename Source::Row;

    Source source;

    __device__ __forceinline__ Row row(int i) const { return source.depth(i); }
    __device__ __forceinline__ Depth depth(int k) const { return source.row(k); }
    __device__ __forceinline__ const Element* at(const Row& r, const Depth& d) const { return source.at(d, r); }
    __device__ __forceinline__ bool has_holes() const { return source.has_holes(); }
};

// A tile of kRows x kDepth elements of a source in shared memory. Elements that are neighbours in memory are neighbours
// here too. Every line ends with padding, so that the reads of a warp lie in different banks: 16 bytes, or 32 bytes for
// float32 along rows, which tf32 fragments read one by one.
template <class Source, int kRows_, int kDepth_>
struct Tile {
    using T = typename Source::Element;
    static constexpr int kRows = kRows_, kDepth = kDepth_;
    static constexpr bool kAlongDepth = Source::kAlongDepth;
    static constexpr int kLines = kAlongDepth ? kRows : kDepth, kLine = kAlongDepth ? kDepth : kRows;
    static constexpr int kPadding = (!kAlongDepth && sizeof(T) == 4 ? 32 : 16) / sizeof(T);

    alignas(16) T line[kLines][kLine + kPadding];

    __device__ __forceinline__ const T* at(int row, int k) const { return kAlongDepth ? &line[row][k] : &line[k][row]; }
};

// Starts to copy V elements to shared memory. From null it writes zeros: a copy of no bytes reads nothing.
template <int V, class T>
__device__ __forceinline__ void copy_async(T* to, const T* from) {
    if constexpr (sizeof(T) * V >= 4) {
        ptx::cp_async<sizeof(T) * V>(ptx::smem_addr(to), from, from ? sizeof(T) * V : 0);
    } else {  // cp.async cannot copy 2 bytes
        *to = from ? *from : T(0.0f);
    }
}

// One thread's share of filling tiles: vectors of V elements, one below the other. What stays the same from tile to
// tile is decoded once: the rows where vectors run along the depth, else the only row that the thread has.
template <class Source, int kRows, int kDepth, int V>
class Loader {
public:
    using T = typename Source::Element;
    using To = Tile<Source, kRows, kDepth>;

    __device__ __forceinline__ Loader(const Source& source, int first_row) : source_(source) {
#pragma unroll
        for (int i = 0; i < kRowsDecoded; ++i) row_[i] = source.row(first_row + (kAlongDepth ? line(i) : column()));
    }

    // Starts to fill a tile with the depths from k on. Depths from `end` on count as missing.
    __device__ __forceinline__ void fill(To& tile, int k, int end) const {
        auto depth = source_.depth(k + (kAlongDepth ? column() : line(0)));
#pragma unroll
        for (int i = 0; i < kShare; ++i) {
            if (kLines % kLinesAtOnce != 0 && line(i) >= kLines) break;
            if (!kAlongDepth && i > 0) depth = source_.depth(k + line(i));
            const bool inside = k + (kAlongDepth ? column() : line(i)) < end;
            copy_async<V>(&tile.line[line(i)][column()],
                          inside ? source_.at(row_[kAlongDepth ? i : 0], depth) : nullptr);
        }
    }

private:
    static constexpr bool kAlongDepth = Source::kAlongDepth;
    static constexpr int kLines = To::kLines, kPerLine = To::kLine / V, kLinesAtOnce = kThreads / kPerLine;
    static constexpr int kShare = (kLines + kLinesAtOnce - 1) / kLinesAtOnce;
    static constexpr int kRowsDecoded = kAlongDepth ? kShare : 1;
    static_assert(kThreads % kPerLine == 0, "a thread stays in its column");

    __device__ __forceinline__ static int column() { return threadIdx.x % kPerLine * V; }
    __device__ __forceinline__ static int line(int i) { return threadIdx.x / kPerLine + i * kLinesAtOnce; }

    const Source& source_;
    typename Source::Row row_[kRowsDecoded];
};

}  // namespace convgpu::tile
