// SPDX-License-Identifier: Apache-2.0
// ECharts with the parts that are used, in the colours of the page. Charts of a page that is left are
// disposed together.
import { LineChart, ScatterChart, BarChart } from 'echarts/charts';
import {
  AriaComponent, DataZoomInsideComponent, GridComponent, LegendComponent, MarkLineComponent, TooltipComponent,
} from 'echarts/components';
import { type ECharts, init, use } from 'echarts/core';
import { LegacyGridContainLabel } from 'echarts/features';
import { CanvasRenderer } from 'echarts/renderers';
import type { EChartsOption } from 'echarts/types/dist/shared';
import { el } from '../dom.ts';

use([
  LineChart, ScatterChart, BarChart, GridComponent, LegendComponent, TooltipComponent, MarkLineComponent,
  DataZoomInsideComponent, AriaComponent, CanvasRenderer, LegacyGridContainLabel,
]);

export type Option = EChartsOption;

let live: { chart: ECharts; observer: ResizeObserver }[] = [];

export function disposeCharts(): void {
  for (const { chart, observer } of live) {
    observer.disconnect();
    chart.dispose();
  }
  live = [];
}

/** The colours of the theme that is on. */
export function ink(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

// Eight hues that stay apart for the colour-blind (Okabe and Ito); a symbol goes with each.
export const hues = (): string[] => [1, 2, 3, 4, 5, 6, 7, 8].map((i) => ink(`hue-${i}`));
export const symbols = ['circle', 'rect', 'triangle', 'diamond', 'roundRect', 'pin', 'arrow', 'circle'];

export function axis(name: string, more: object = {}): object {
  return {
    name,
    nameLocation: 'middle',
    nameGap: 32,
    nameTextStyle: { color: ink('muted'), fontSize: 12 },
    axisLine: { lineStyle: { color: ink('line-strong') } },
    axisTick: { show: false },
    axisLabel: { color: ink('muted'), fontSize: 11 },
    splitLine: { lineStyle: { color: ink('line') } },
    minorSplitLine: { show: false },
    ...more,
  };
}

/** A vertical axis: its name stands on top of it, where it can be read. */
export function upright(name: string, more: object = {}): object {
  return axis(name, { nameLocation: 'end', nameGap: 14, nameTextStyle: { color: ink('muted'), fontSize: 12, align: 'left', padding: [0, 0, 0, -30] }, ...more });
}

/** A logarithmic axis with whole powers of two on it; values on it are base-2 logarithms. */
export function powersOfTwo(name: string, values: readonly number[], step: number): object {
  return axis(name, {
    type: 'value', min: Math.floor(Math.min(...values)), max: Math.ceil(Math.max(...values)), interval: step,
    axisLabel: { color: ink('muted'), fontSize: 11, formatter: (value: number) => String(2 ** value) }, splitLine: { show: false },
  });
}

/** A thin dashed line across the plot, with its name at the end or at the start. */
export function rule(where: object, label: string, color = ink('muted'), side: 'Start' | 'End' = 'End'): object {
  return {
    ...where,
    lineStyle: { color, type: 'dashed', width: 1.25 },
    label: { formatter: label, color, fontSize: 11, position: `inside${side}Top`, distance: 4 },
  };
}

export function facts(title: string, rows: readonly (readonly [string, string])[]): HTMLElement {
  return el(
    'div', { class: 'tip' }, el('strong', {}, title),
    el('dl', {}, ...rows.filter(([, value]) => value !== '').flatMap(([name, value]) => [el('dt', {}, name), el('dd', {}, value)])),
  );
}

interface ChartSpec {
  readonly label: string;
  readonly height?: number;
  readonly option: Option;
  /** `data` of the point that was clicked, as the series gave it. */
  readonly click?: (data: unknown) => void;
}

export function drawChart(host: HTMLElement, spec: ChartSpec): void {
  const box = el('div', { class: 'chart', role: 'img', 'aria-label': spec.label, style: `height:${spec.height ?? 360}px` });
  host.append(box);
  const chart = init(box, null, { renderer: 'canvas' });
  chart.setOption({
    animation: false,
    textStyle: { fontFamily: getComputedStyle(document.body).fontFamily },
    grid: { left: 8, right: 24, top: 68, bottom: 34, containLabel: true },
    legend: { top: 4, left: 8, icon: 'circle', itemWidth: 8, itemHeight: 8, itemGap: 16, textStyle: { color: ink('muted'), fontSize: 12 } },
    ...spec.option,
    tooltip: {
      appendTo: document.body, confine: true, backgroundColor: ink('surface'), borderColor: ink('line-strong'), padding: 12,
      textStyle: { color: ink('ink'), fontSize: 12 }, extraCssText: 'box-shadow:var(--shadow);border-radius:8px', ...spec.option.tooltip,
    },
  });
  const { click } = spec;
  if (click) chart.on('click', (event) => click(event.data));
  // The first report is of the size that the chart was just drawn in.
  const observer = new ResizeObserver(() => {
    if (chart.getWidth() !== box.clientWidth || chart.getHeight() !== box.clientHeight) chart.resize();
  });
  observer.observe(box);
  live.push({ chart, observer });
}
