// The factors of a tiled product: where their elements are in memory, and how a block brings them to shared memory.
//
// A product is y[m, n] = sum over k of a[m, k] * b[n, k]: both factors are matrices of rows times depth, whatever
// stands in memory. A source says where: Row row(int) and Depth depth(int) decode an index once, and at(Row, Depth) is
// the address of an element, or null where there is none (beyond the edge of a matrix, or of an image): it counts as
// zero. kAlongDepth says in which direction elements are neighbours in memory; a vector of V elements runs in it,
// starts at multiples of V, and is there or not as a whole.
#pragma once
#include "../common/vector.h"
#include "../device/ptx.h"

namespace convgpu::tile {

constexpr int kThreads = 256;  // threads of a block
template <class T>
constexpr int kFullVector = kVectorBytes / sizeof(T);

// A matrix with `rows` rows: element (row, k) lies at row * stride + k, or at row + k * stride.
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
    int rows, length;  // length: of the depth

    __device__ __forceinline__ Row row(int i) const { return {AlongDepth ? i * stride : i, i < rows}; }
    __device__ __forceinline__ Depth depth(int k) const { return {AlongDepth ? k : k * stride, k < length}; }
    __device__ __forceinline__ const T* at(const Row& r, const Depth& d) const {
        return r.inside && d.inside ? data + r.offset + d.offset : nullptr;
    }
    // Whether elements may be missing before the end of a row.
    __device__ __forceinline__ bool has_holes() const { return false; }
};

// A source with rows and depth exchanged.
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

// kRows x kDepth elements of a source in shared memory, neighbours as in memory. The padding of the lines keeps the
// reads of a warp in different banks: 16 bytes; 32 for float32 along rows, which tf32 fragments read one by one.
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

// V elements, or as many zeros from null, which a copy of no bytes does not read.
template <int V, class T>
__device__ __forceinline__ void copy_async(T* to, const T* from) {
    if constexpr (sizeof(T) * V >= 4) {
        ptx::cp_async<sizeof(T) * V>(ptx::smem_addr(to), from, from ? sizeof(T) * V : 0);
    } else {  // cp.async has no 2 bytes
        *to = from ? *from : T(0.0f);
    }
}

// A thread's share in filling tiles: vectors of V elements, one below the other. What stays the same from tile to tile
// is decoded once: rows where vectors run along the depth, and their one row where they run along the rows.
template <class Source, int kRows, int kDepth, int V>
class Loader {
public:
    using T = typename Source::Element;
    using To = Tile<Source, kRows, kDepth>;

    __device__ __forceinline__ Loader(const Source& source, int first_row) : source_(source) {
#pragma unroll
        for (int i = 0; i < kRowsDecoded; ++i) row_[i] = source.row(first_row + (kAlongDepth ? line(i) : column()));
    }

    // Starts to fill a tile with the depths from k on; those from `end` on are missing.
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
