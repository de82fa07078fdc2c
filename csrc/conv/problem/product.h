// A convolution consists of products of matrices. This table says how many rows, columns and terms these have.
//
//              rows M           columns N   sum over K
//     fprop    pixels of y      filters     taps, channels
//     dgrad    pixels of gx     channels    taps, filters
//     wgrad    taps, channels   filters     pixels of gy
//
// There is one such product for each group, and for dgrad one for each group and phase (phases.h).
#pragma once
#include <algorithm>
#include <optional>

#include "phases.h"
#include "problem.h"

namespace convgpu::conv {

// The size of the products in one launch: `items` products of M x N sums over K terms. Where M or K counts pixels, they
// are those of `images` images, which is the whole batch, or as much of it as 32 bits can count.
struct Product {
    int64_t M = 0, N = 0, K = 0, items = 0, images = 0;
};

// Returns the products of a problem. `phases` are those phases of dgrad that are computed together, and null for the
// other directions. Throws std::invalid_argument if a single image has more pixels than 32 bits can count.
Product product_of(const Problem& problem, const Phases* phases);

// Returns the phases of dgrad, and nothing for the other directions.
std::optional<Phases> phases_of(const Problem& problem);

// Calls use(first image, images) for one part of the batch after the other. Each part has at most `images` images.
template <class Use>
void each_part(const ConvGeometry& geo, int64_t images, Use use) {
    for (int64_t n = 0; n < geo.batch; n += images) use(n, static_cast<int>(std::min(images, geo.batch - n)));
}

}  // namespace convgpu::conv
