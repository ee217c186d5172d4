// Backward pass of classic compositing in one tile: a loss's derivatives for the pixels in, one record a splat out.
// Front to back, as the image was made, so that every splat meets the same transmittance again. A pixel remembers one
// number more: what the splats still to come contribute to sum_c (dL/dC_c) C_c, which is all that alpha's derivative
// needs to know of them. At the start that is the whole pixel's, read off the rendered image.
#pragma once

// A pixel's planes in the order in which a buffer row holds them; derivatives for the channels follow.
struct BackwardLayout {
  static constexpr int transmittance = 0, rest = 1, by_weight = 2, by_depth_sum = 3, by_channel = 4;
};

static int backward_planes(int channels) { return BackwardLayout::by_channel + channels; }

static void load_backward_tile(const BackwardJob& job, int tile, int channels, float* buffer) {
  typedef BackwardLayout L;
  const int row_size = backward_planes(channels) * kRowStride;
  const TileBounds tb = bounds_of(job.render, tile);
  __builtin_memset(buffer, 0, sizeof(float) * row_size * kTileHeight);  // no light outside the image: nothing is seen
  for (int y = 0; y < tb.height; ++y) {
    float* row = buffer + y * row_size;
    const int64_t first = (int64_t)(tb.y0 + y) * job.render.camera.width + tb.x0;
    for (int x = 0; x < tb.width; ++x) {
      const int64_t i = first + x;
      const float alpha = job.alpha[i];
      // Expected depth is a quotient, sum w z / sum w; its share of the rest cancels.
      const float by_depth = job.by_depth && alpha > 0 ? job.by_depth[i] / alpha : 0.0f;
      const float by_alpha = job.by_alpha ? job.by_alpha[i] : 0.0f;
      double rest = (double)by_alpha * alpha;
      for (int c = 0; c < channels; ++c) {
        const float by_channel = job.by_channels[i * channels + c];
        row[(L::by_channel + c) * kRowStride + x] = by_channel;
        rest += (double)by_channel * job.channels[i * channels + c];
      }
      row[L::transmittance * kRowStride + x] = 1.0f;
      row[L::rest * kRowStride + x] = (float)rest;
      row[L::by_weight * kRowStride + x] = by_alpha - by_depth * job.depth[i];
      row[L::by_depth_sum * kRowStride + x] = by_depth;
    }
  }
}

// kChannels is the number of channels, or 0 for any number; values asks for derivatives of the channel values.
template <int kChannels>
static void backward_splats(const BackwardJob& job, int tile, const Entry* entries, int64_t count, int any_channels, float* buffer) {
  typedef BackwardLayout L;
  const RenderJob& render = job.render;
  const int channels = kChannels ? kChannels : any_channels;
  const int tile_column = tile % render.tiles_x, tile_row = tile / render.tiles_x;
  const int row_size = backward_planes(channels) * kRowStride;
  const bool values = job.values;
  float* channel_sums = buffer + row_size * kTileHeight;  // eight lanes a channel, behind the pixels
  for (int64_t n = 0; n < count; ++n) {
    if (n + 4 < count) __builtin_prefetch(&render.splats[entries[n + 4].id]);
    const uint32_t id = entries[n].id;
    const Splat& s = render.splats[id];
    const float* value = render.scene.values + (int64_t)render.scene.channels * id;
    const Vec depth = splat(s.z);
    Vec by_power = splat(0), by_x = splat(0), by_y = splat(0), by_xx = splat(0), by_xy = splat(0), by_yy = splat(0);
    Vec by_depth = splat(0), by_value[kChannels ? kChannels : 1];
    if constexpr (kChannels) {
      for (int c = 0; c < kChannels; ++c) by_value[c] = splat(0);
    } else {
      __builtin_memset(channel_sums, 0, sizeof(float) * kLanes * channels);
    }
    Footprint(s, tile_column * kTileWidth, tile_row * kTileHeight).for_each_span(buffer, row_size, L::transmittance,
        [&](float* row, int, int, Vec dx, float dy, Vec before, Vec raw, Vec alpha) __attribute__((always_inline)) {
      const Vec spent = alpha * before, after = before - spent;
      const Mask alive = greater(after, splat(kTransmittanceMin));
      const Vec weight = keep(alive, spent);
      store(row + L::transmittance * kRowStride, keep(alive, after));
      const Vec by_sum = load(row + L::by_depth_sum * kRowStride);
      Vec by_weight = load(row + L::by_weight * kRowStride) + by_sum * depth;
      for (int c = 0; c < channels; ++c) {
        const Vec by_channel = load(row + (L::by_channel + c) * kRowStride);
        by_weight += by_channel * splat(value[c]);
        if (values) {
          if constexpr (kChannels) by_value[c] += weight * by_channel;
          else add(channel_sums + c * kLanes, weight * by_channel);
        }
      }
      const Vec rest = load(row + L::rest * kRowStride) - weight * by_weight;
      store(row + L::rest * kRowStride, rest);
      const Vec by_alpha = before * by_weight - rest / (splat(1.0f) - alpha);
      const Vec moving = keep(alive & greater(splat(kAlphaMax), raw), alpha) * by_alpha;  // a clamped alpha does not move
      const Vec moving_x = moving * dx, moving_y = moving * splat(dy);
      by_power += moving, by_x += moving_x, by_y += moving_y;
      by_xx += moving_x * dx, by_xy += moving_y * dx, by_yy += moving_y * splat(dy);
      by_depth += weight * by_sum;
    });
    const TileRange t = tiles_of(s);
    const int64_t place = (int64_t)(tile_row - t.y_lo) * (t.x_hi - t.x_lo + 1) + (tile_column - t.x_lo);
    float* record = job.records + (job.first_record[id] + place) * job.record_size;
    record[kByPower] = (float)sum(by_power), record[kByPowerX] = (float)sum(by_x), record[kByPowerY] = (float)sum(by_y);
    record[kByPowerXX] = (float)sum(by_xx), record[kByPowerXY] = (float)sum(by_xy), record[kByPowerYY] = (float)sum(by_yy);
    record[kByDepth] = (float)sum(by_depth);
    if (values)
      for (int c = 0; c < channels; ++c)
        record[kRecordFields + c] = (float)sum(kChannels ? by_value[kChannels ? c : 0] : load(channel_sums + c * kLanes));
  }
}

static void backward_tile(const BackwardJob& job, int tile, Entry* scratch, float* buffer) {
  Entry* entries = job.render.entries + job.render.tile_start[tile];
  const int64_t count = job.render.tile_start[tile + 1] - job.render.tile_start[tile];
  if (count == 0) return;
  const int channels = job.by_channels ? job.render.scene.channels : 0;
  sort_entries(entries, scratch, count);
  load_backward_tile(job, tile, channels, buffer);
  switch (channels) {
    case 1: return backward_splats<1>(job, tile, entries, count, 1, buffer);
    case 3: return backward_splats<3>(job, tile, entries, count, 3, buffer);
    default: return backward_splats<0>(job, tile, entries, count, channels, buffer);
  }
}
