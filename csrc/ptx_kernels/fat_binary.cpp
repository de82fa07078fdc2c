#include "fat_binary.h"

#include <cstdint>
#include <cstring>

#include "../ptx_machine/error.h"

namespace convgpu::ptx_kernels {
namespace {

// The layout is not documented; it is that of nvcc 12 and 13. A file has a header and any number of entries.
constexpr uint32_t kMagic = 0xba55ed50;
constexpr uint16_t kPtx = 1;

struct FileHeader {
    uint32_t magic;
    uint16_t version, header_bytes;
    uint64_t bytes;  // of all entries
};

struct EntryHeader {
    uint16_t kind, version;
    uint32_t header_bytes;
    uint64_t bytes;  // of what follows the header
};

template <class T>
T read(const uint8_t* at) {
    T value;
    std::memcpy(&value, at, sizeof value);
    return value;
}

}  // namespace

std::vector<std::string> ptx_in(const void* fat_binary) {
    const auto* file = static_cast<const uint8_t*>(fat_binary);
    const auto header = read<FileHeader>(file);
    if (header.magic != kMagic) throw ptx::Error("fat binary: expected its magic number, got another one");
    std::vector<std::string> found;
    const uint8_t* end = file + header.header_bytes + header.bytes;
    for (const uint8_t* at = file + header.header_bytes; at < end;) {
        const auto entry = read<EntryHeader>(at);
        const auto* content = reinterpret_cast<const char*>(at + entry.header_bytes);
        if (entry.kind == kPtx) {
            found.emplace_back(content, strnlen(content, entry.bytes));
            if (found.back().find(".version") == std::string::npos) {
                throw ptx::Error("fat binary: expected PTX as text, got compressed PTX (nvcc --no-compress)");
            }
        }
        at += entry.header_bytes + entry.bytes;
    }
    return found;
}

std::string target_of(const std::string& ptx) {
    constexpr char kDirective[] = ".target ";
    const size_t found = ptx.find(kDirective);
    if (found == std::string::npos) throw ptx::Error("PTX: expected a directive .target, found none");
    const size_t begin = found + sizeof kDirective - 1;
    return ptx.substr(begin, ptx.find_first_of(" \t\r\n,", begin) - begin);
}

}  // namespace convgpu::ptx_kernels
