// Lines over time, with their latest values, or those under the pointer, as the legend.
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { bytes, clock } from "../lib/format";
import { useColours } from "../lib/theme";

export interface Line {
  label: string;
  values: readonly (number | null)[];
}

interface Props {
  title: string;
  at_ms: readonly number[];
  lines: readonly Line[];
  format: (value: number) => string;
  /** A rate that is fresher than the last column, for the legend. */
  latest?: readonly number[];
  height?: number;
}

const SPAN_SECONDS_MIN = 60;
const SECONDS_SHOWN_BELOW = 600;
/** Sizes are told in powers of 1,024, so their axes are divided by powers of two. */
const BYTE_STEPS = Array.from({ length: 50 }, (_, power) => 2 ** power);
const AXIS_FONT = "11px system-ui, sans-serif";

/** What a colour of the style is at the moment. A canvas knows neither var() nor light-dark(). */
function resolver(element: HTMLElement): (name: string) => string {
  const style = getComputedStyle(element);
  return (name) => {
    element.style.color = `var(${name})`;
    return style.color;
  };
}

function options(props: Props, element: HTMLElement, hover: (index: number | null) => void): uPlot.Options {
  const colour = resolver(element);
  const axis: uPlot.Axis = {
    stroke: colour("--muted"),
    font: AXIS_FONT,
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
  };
  return {
    width: element.clientWidth || 300,
    height: props.height ?? 150,
    padding: [8, 26, 0, 0],
    legend: { show: false },
    cursor: { y: false, drag: { x: false, y: false }, sync: { key: "nexo" }, points: { size: 6 } },
    scales: {
      x: { time: true, range: (_plot, low, high) => [Math.min(low, high - SPAN_SECONDS_MIN), high] },
      y: { range: (_plot, _low, high) => [0, high > 0 ? high * 1.1 : 1] },
    },
    axes: [
      {
        ...axis,
        size: 22,
        space: 70,
        values: (_plot, ticks) => {
          const long = ticks.length > 1 && ticks[ticks.length - 1]! - ticks[0]! >= SECONDS_SHOWN_BELOW;
          return ticks.map((tick) => (long ? clock(tick * 1000).slice(0, 5) : clock(tick * 1000)));
        },
      },
      {
        ...axis,
        size: 62,
        space: 36,
        values: (_plot, ticks) => ticks.map(props.format),
        ...(props.format === bytes ? { incrs: BYTE_STEPS } : {}),
      },
    ],
    series: [
      {},
      ...props.lines.map((line, index) => ({
        label: line.label,
        stroke: colour(`--series-${index + 1}`),
        width: 1.5,
        points: { show: false },
        ...(index === 0 ? { fill: colour("--series-fill") } : {}),
      })),
    ],
    hooks: { setCursor: [(plot) => hover(plot.cursor.idx ?? null)] },
  };
}

export function Chart(props: Props) {
  const { title, at_ms, lines, format, latest } = props;
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [hovered, setHovered] = useState<number | null>(null);
  const colours = useColours();
  const labels = lines.map((line) => line.label).join("\n");
  const data = [
    at_ms.map((at) => at / 1000),
    ...lines.map((line) => line.values),
  ] as unknown as uPlot.AlignedData;

  useEffect(() => {
    const element = box.current;
    if (element === null) return undefined;
    const drawn = new uPlot(options(props, element, setHovered), data, element);
    plot.current = drawn;
    const sizes = new ResizeObserver(() => {
      const width = element.clientWidth;
      if (width > 0) drawn.setSize({ width, height: drawn.height });
    });
    sizes.observe(element);
    return () => {
      sizes.disconnect();
      drawn.destroy();
      plot.current = null;
    };
  }, [colours, labels]);

  useEffect(() => plot.current?.setData(data));

  const index = hovered ?? at_ms.length - 1;
  const shown = lines.map((line, number) => {
    const fresh = hovered === null ? latest?.[number] : undefined;
    const value = fresh !== undefined && !Number.isNaN(fresh) ? fresh : line.values[index];
    return { label: line.label, text: value === null || value === undefined ? "–" : format(value) };
  });
  const at = hovered !== null ? at_ms[hovered] : undefined;
  return (
    <figure class="chart">
      <figcaption>
        <span class="chart-title">{title}</span>
        {at !== undefined && <span class="muted"> at {clock(at)}</span>}
        <ul class="legend">
          {shown.map(({ label, text }, number) => (
            <li key={label}>
              <i class={`swatch s${number + 1}`} aria-hidden="true" />
              <span class="muted">{label}</span> <b>{text}</b>
            </li>
          ))}
        </ul>
      </figcaption>
      <div ref={box} class="plot" aria-hidden="true" />
    </figure>
  );
}
