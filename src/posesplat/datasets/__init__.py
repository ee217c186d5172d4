"""Reading images, videos and RGB-D sequences; synthetic rooms."""
