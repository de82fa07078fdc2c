// An array in the memory that kernels see, which can be filled from the host and copied back. Tests and probes that run
// on both machines use it.
#pragma once
#include <cstdlib>
#include <cstring>
#include <new>
#include <vector>

#include "launch.h"

namespace convgpu {

template <class T>
class DeviceArray {
public:
    explicit DeviceArray(const std::vector<T>& values) : size_(values.size()), data_(allocate(bytes())) {
        copy(data_, values.data(), ToDevice{});
    }
    ~DeviceArray() { release(data_); }
    DeviceArray(const DeviceArray&) = delete;
    DeviceArray& operator=(const DeviceArray&) = delete;

    T* data() const { return data_; }
    // Copies the array back after everything that was launched before has ended.
    std::vector<T> download() const {
        std::vector<T> values(size_);
        copy(values.data(), data_, ToHost{});
        return values;
    }

private:
    struct ToDevice {};
    struct ToHost {};
    size_t bytes() const { return size_ * sizeof(T); }

#ifdef __CUDACC__
    static T* allocate(size_t bytes) {
        void* p = nullptr;
        check_cuda(cudaMalloc(&p, bytes), "cudaMalloc");
        return static_cast<T*>(p);
    }
    static void release(T* p) { cudaFree(p); }
    void copy(T* to, const T* from, ToDevice) const {
        check_cuda(cudaMemcpy(to, from, bytes(), cudaMemcpyHostToDevice), "cudaMemcpy");
    }
    void copy(T* to, const T* from, ToHost) const {
        check_cuda(cudaMemcpy(to, from, bytes(), cudaMemcpyDeviceToHost), "cudaMemcpy");
    }
#else
    // The memory is aligned like that of cudaMalloc, and not a byte longer than asked for, so that AddressSanitizer
    // sees the first access beyond its end.
    static T* allocate(size_t bytes) {
        void* p = nullptr;
        if (posix_memalign(&p, 256, bytes)) throw std::bad_alloc();
        return static_cast<T*>(p);
    }
    static void release(T* p) { std::free(p); }
    template <class Direction>
    void copy(T* to, const T* from, Direction) const {
        std::memcpy(static_cast<void*>(to), from, bytes());
    }
#endif

    size_t size_;
    T* data_;
};

}  // namespace convgpu
