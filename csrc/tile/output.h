// The sums of a product go through an epilogue into the result, or unchanged into a workspace of partial sums.
#pragma once
#include "../common/accumulate.h"
#include "../common/activate.h"
#include "operand.h"

namespace convgpu::tile {

// An epilogue computes y = activation(alpha * sum + beta * c); the term with c is left out where there is no c.
template <class T>
struct Epilogue {
    Accumulator<T> alpha = 1, beta = 1;
    Activation activation = Activation::kNone;
    const T* c = nullptr;
    int64_t c_row = 0, c_column = 0;  // the distances from one element of c to the next; 0 where c is broadcast

    // Returns the epilogue of the columns from n on.
    __device__ __forceinline__ Epilogue from_column(int64_t n) const {
        Epilogue rest = *this;
        if (c) rest.c += n * c_column;
        return rest;
    }
};

template <class Sum, int V>
__device__ __forceinline__ bool has_nan(const Vector<Sum, V>& sums) {
    bool found = false;
#pragma unroll
    for (int v = 0; v < V; ++v) found = found || sums.at[v] != sums.at[v];
    return found;
}

// The rows of y lie at equal distances.
struct EvenRows {
    int64_t stride;
    __device__ __forceinline__ int64_t operator()(int m) const { return m * stride; }
};

// A thread may own several runs of neighbouring columns. The first column of one run and the first of the next are
// kApart columns apart.
constexpr int kApart = 8;

// Turns the sums from element (m, n) on into results, and drops those beyond the edges. A problem's result has
// visit(use), which calls use(typed), where the type of the elements, Value, is known. `typed` has these members:
//
//     columns<V, kRuns>(n)           returns what finish needs to know of kRuns runs of V columns, the first at n
//     row(m).finish(columns, runs)   turns the sums of row m into what the activation takes; beyond the edges, anything
//     activation()                   returns the activation
//     activate(value)                applies it
//     in_vectors()                   tells whether rows begin at multiples of 16 bytes and are whole such vectors
//     put(m, n, vector)              writes results that are finished and rounded
template <class Result, class Sum, int V>
__device__ __forceinline__ void write(const Result& result, int m, int n, const Vector<Sum, V>& sums) {
    result.visit([&](const auto& typed) {
        using Value = typename std::decay_t<decltype(typed)>::Value;
        Vector<Sum, V> values[] = {sums};
        typed.row(m).finish(typed.template columns<V, 1>(n), values);
        Vector<Value, V> rounded;
#pragma unroll
        for (int v = 0; v < V; ++v) rounded.at[v] = static_cast<Value>(typed.activate(values[0].at[v]));
        typed.put(m, n, rounded);
    });
}

// A result in memory. Rows(m) tells where row m begins in y; the elements of a row are neighbours.
template <class T, class Rows>
struct Result {
    using Value = T;
    using Sum = Accumulator<T>;
    T* y;
    Rows rows;
    int M, N;
    Epilogue<T> epilogue;
    bool vectors;  // whether rows start at multiples of 16 bytes and N is a multiple of a vector

    struct Row {
        const Epilogue<T>& epilogue;
        const T* c;  // null where nothing is added
        int N;

        template <int V, int kRuns>
        __device__ __forceinline__ void finish(int n, Vector<Sum, V> (&runs)[kRuns]) const {
#pragma unroll
            for (int i = 0; i < kRuns * V; ++i) runs[i / V].at[i % V] *= epilogue.alpha;
            if (c == nullptr) return;
            const T* first = c + n * epilogue.c_column;
            const auto add = [&](auto apart) {
#pragma unroll
                for (int i = 0; i < kRuns * V; ++i) {
                    const int j = i / V * kApart + i % V;
                    if (n + j >= N) continue;
                    runs[i / V].at[i % V] += epilogue.beta * static_cast<Sum>(first[j * apart]);
                }
            };
            epilogue.c_column == 1 ? add(std::integral_constant<int, 1>()) : add(epilogue.c_column);
        }
    };
    template <int V, int kRuns>
    __device__ __forceinline__ int columns(int n) const {
        return n;
    }
    __device__ __forceinline__ Row row(int m) const {
        const T* c = epilogue.c && m < M ? epilogue.c + m * epilogue.c_row : nullptr;
        return {epilogue, c, N};
    }
    __device__ __forceinline__ Activation activation() const { return epilogue.activation; }
    __device__ __forceinline__ Sum activate(Sum v) const { return convgpu::activate(epilogue.activation, v); }
    __device__ __forceinline__ bool in_vectors() const { return vectors; }

    template <int V>
    __device__ __forceinline__ void put(int m, int n, const Vector<T, V>& values) const {
        if (m >= M || n >= N) return;
        T* to = y + rows(m) + n;
        if (vectors) return store(to, values);
#pragma unroll
        for (int v = 0; v < V; ++v) {
            if (n + v < N) to[v] = values.at[v];
        }
    }

    template <class Use>
    __device__ __forceinline__ void visit(Use use) const {
        use(*this);
    }

    __device__ __forceinline__ bool is_nan(int m, int n) const {
        if (m >= M || n >= N) return false;
        // TMA may have written this value, in which case the L1 cache does not have it.
        const auto value = static_cast<Sum>(__ldcg(y + rows(m) + n));
        return value != value;
    }
};

// Tells which tiles of a result are to be computed again. A kernel marks a tile whose result may be wrong.
struct Marks {
    static constexpr int kTile = 64;  // a mark stands for this many rows and columns

    uint32_t* mark = nullptr;  // one mark for each [item][row][column] of tiles
    int rows = 0, columns = 0;

    __device__ __forceinline__ void set(int item, int m, int n) const { atomicExch(mark + at(item, m, n), 1u); }

    // Tells whether a tile of `size` rows and columns has a mark. Without marks, every tile counts as marked.
    __device__ __forceinline__ bool any(int item, int m, int n, int size) const {
        if (mark == nullptr) return true;
        for (int i = m; i < m + size && i / kTile < rows; i += kTile) {
            for (int j = n; j < n + size && j / kTile < columns; j += kTile) {
                if (mark[at(item, i, j)]) return true;
            }
        }
        return false;
    }

private:
    __device__ __forceinline__ int64_t at(int item, int m, int n) const {
        return (int64_t(item) * rows + m / kTile) * columns + n / kTile;
    }
};

constexpr int kPartialVector = 8;  // the number of elements of the widest vector that is written to partial sums

// The workspace for the parts of split sums: partial[item][split][m][n], in lines that are filled up to whole vectors.
template <class Sum>
struct Partial {
    Sum* data;
    int M, N, splits;
    Marks marks;  // the tiles that are computed; without marks, all tiles are

    template <int V>
    __device__ __forceinline__ void write(int m, int n, const Vector<Sum, V>& sums, int item, int split) const {
        if (m >= M || n >= N) return;
        store(data + at(m, n, item, split), sums);
    }
    __device__ __forceinline__ int64_t at(int m, int n, int item, int split) const {
        return ((int64_t(item) * splits + split) * M + m) * line() + n;
    }
    __device__ __host__ __forceinline__ int64_t line() const {
        return (N + kPartialVector - 1) / kPartialVector * kPartialVector;
    }
    int64_t bytes(int items) const { return int64_t(items) * splits * M * line() * sizeof(Sum); }
};

// A part of split sums, with the members of a result. It stores the sums unchanged.
template <class Sum>
struct PartResult {
    using Value = Sum;
    const Partial<Sum>& partial;
    int item, split;

    struct Row {
        template <int V, int kRuns>
        __device__ __forceinline__ void finish(int, Vector<Sum, V> (&)[kRuns]) const {}
    };
    template <int V, int kRuns>
    __device__ __forceinline__ int columns(int n) const {
        return n;
    }
    __device__ __forceinline__ Row row(int) const { return {}; }
    __device__ __forceinline__ Activation activation() const { return Activation::kNone; }
    __device__ __forceinline__ Sum activate(Sum v) const { return v; }
    __device__ __forceinline__ bool in_vectors() const { return true; }
    template <int V>
    __device__ __forceinline__ void put(int m, int n, const Vector<Sum, V>& sums) const {
        partial.write(m, n, sums, item, split);
    }
};

}  // namespace convgpu::tile
