"""Conformance suites: what a provider, method, renderer or exporter must do, as checks to run in your own tests.

One suite a kind. ``check_depth_provider(make)`` and its like raise an AssertionError that names all that is wrong;
``DEPTH_CHECKS`` and its like list the checks, each called with a trial, for tests that want one result a check.
pytest is not needed. docs/testing.md.
"""

from posesplat.testing.check import Check
from posesplat.testing.depth import DEPTH_CHECKS, DepthTrial, check_depth_provider
from posesplat.testing.exporters import EXPORTER_CHECKS, ExporterTrial, check_exporter
from posesplat.testing.features import FEATURE_CHECKS, FeatureTrial, check_feature_provider
from posesplat.testing.inbetween import INBETWEEN_CHECKS, InbetweenTrial, check_inbetween_provider, sample_request
from posesplat.testing.masks import MASK_CHECKS, MaskTrial, check_mask_provider
from posesplat.testing.material import sample_frames, sample_views
from posesplat.testing.methods import METHOD_CHECKS, Method, MethodCase, MethodTrial, check_method, sample_case
from posesplat.testing.multi_view import (
    MULTI_VIEW_CHECKS,
    MultiViewTrial,
    PosedViews,
    check_multi_view_provider,
    sample_path,
)
from posesplat.testing.renderers import RENDERER_CHECKS, Render, Rendered, RendererTrial, check_renderer
from posesplat.testing.two_view import TWO_VIEW_CHECKS, TwoViewTrial, ViewPair, check_two_view_provider, sample_pair

__all__ = [
    "DEPTH_CHECKS",
    "EXPORTER_CHECKS",
    "FEATURE_CHECKS",
    "INBETWEEN_CHECKS",
    "MASK_CHECKS",
    "METHOD_CHECKS",
    "MULTI_VIEW_CHECKS",
    "RENDERER_CHECKS",
    "TWO_VIEW_CHECKS",
    "Check",
    "DepthTrial",
    "ExporterTrial",
    "FeatureTrial",
    "InbetweenTrial",
    "MaskTrial",
    "Method",
    "MethodCase",
    "MethodTrial",
    "MultiViewTrial",
    "PosedViews",
    "Render",
    "Rendered",
    "RendererTrial",
    "TwoViewTrial",
    "ViewPair",
    "check_depth_provider",
    "check_exporter",
    "check_feature_provider",
    "check_inbetween_provider",
    "check_mask_provider",
    "check_method",
    "check_multi_view_provider",
    "check_renderer",
    "check_two_view_provider",
    "sample_case",
    "sample_frames",
    "sample_pair",
    "sample_path",
    "sample_request",
    "sample_views",
]
