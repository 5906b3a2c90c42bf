// Is the broker well, and what goes through it: the first thing to look at.
import { bytes, compact, counted, duration, latency, perSecond, whole } from "../lib/format";
import type { Columns } from "../lib/history";
import { type Live, useLive } from "../lib/live";
import { rates } from "../lib/rates";
import { link } from "../lib/router";
import type { Overview } from "../lib/types";
import { Chart, type Line } from "../ui/chart";
import { Badge, Stat } from "../ui/parts";

type Named = readonly (readonly [string, string])[];

/** Where one sees more of what an alarm is about. */
const ALARM_PAGES: Record<string, readonly [string, string]> = {
  dead_letters: ["queues", "Queues"],
  memory_high: ["store", "Store"],
  connections_high: ["connections", "Connections"],
};

const NONE: (number | null)[] = [];

function times(history: Columns): number[] {
  return (history["at"] ?? NONE) as number[];
}

function RateChart({ live, title, counters }: { live: Live; title: string; counters: Named }) {
  const at = times(live.history);
  const lines: Line[] = counters.map(([counter, label]) => ({
    label,
    values: rates(at, live.history[counter] ?? at.map(() => null)),
  }));
  const latest = counters.map(([counter]) => live.rate(counter));
  return <Chart title={title} at_ms={at} lines={lines} format={perSecond} latest={latest} />;
}

interface LevelProps {
  live: Live;
  title: string;
  series: Named;
  format: (value: number) => string;
}

function LevelChart({ live, title, series, format }: LevelProps) {
  const at = times(live.history);
  const lines = series.map(([name, label]) => ({ label, values: live.history[name] ?? at.map(() => null) }));
  return <Chart title={title} at_ms={at} lines={lines} format={format} />;
}

function AlarmLink({ code }: { code: string }) {
  const page = ALARM_PAGES[code];
  return page === undefined ? null : <a href={link([page[0]])}>{page[1]}</a>;
}

function Health({ overview }: { overview: Overview }) {
  if (overview.alarms.length === 0 && overview.ready) {
    return (
      <p class="health ok">
        <Badge tone="ok">All well</Badge> No alarms. Up for {duration(overview.uptime_ms)}, version{" "}
        {overview.version}
        {overview.compiled ? "" : ", interpreted (slower than compiled)"}.
      </p>
    );
  }
  return (
    <section class="alarms" aria-label="Alarms">
      {!overview.ready && (
        <p class="alarm bad">
          <Badge tone="bad">Not ready</Badge> The broker does not take all work at the moment.
        </p>
      )}
      {overview.alarms.map((alarm) => (
        <p key={alarm.code} class={`alarm ${alarm.level === "critical" ? "bad" : "warn"}`}>
          <Badge tone={alarm.level === "critical" ? "bad" : "warn"}>{alarm.level}</Badge> {alarm.message}{" "}
          <AlarmLink code={alarm.code} />
        </p>
      ))}
    </section>
  );
}

/** The broker may tell it in whole milliseconds. */
function sync(ms: number | null): string {
  if (ms === null) return "–";
  return ms === 0 ? "< 1\u00a0ms" : latency(ms);
}

function Node({ overview }: { overview: Overview }) {
  const { connections, memory, storage, loop } = overview;
  const cap = memory.store_max_bytes;
  const share = cap > 0 ? memory.store_bytes / cap : 0;
  return (
    <section class="stats" aria-label="The node">
      <Stat label="Connections" value={whole(connections.open)} note={`of ${whole(connections.max)}`} />
      <Stat label="Memory" value={bytes(memory.rss_bytes)} note="of the process" />
      <Stat
        label="Store"
        value={bytes(memory.store_bytes)}
        note={
          cap > 0 ? (
            <>
              <meter min={0} max={1} high={0.9} value={share} aria-label="Store's memory against its cap" />{" "}
              {Math.round(share * 100)} % of {bytes(cap)}
            </>
          ) : (
            "no cap"
          )
        }
      />
      <Stat
        label="Disk"
        value={
          storage.state === "ok" ? <span class="good">ok</span> : <span class="bad">{storage.state}</span>
        }
        note={
          storage.fault ||
          `${counted(storage.files, "log file")}, ${bytes(storage.pending_bytes)} waiting to be written`
        }
      />
      <Stat label="Sync" value={sync(storage.last_sync_ms)} note="the last write" />
      <Stat
        label="Event loop lag"
        value={latency(loop.lag_ms)}
        note={`at most ${latency(loop.lag_max_ms)}`}
      />
    </section>
  );
}

export function OverviewPage() {
  const live = useLive();
  const { overview } = live;
  if (overview === null) {
    return (
      <>
        <h1>Overview</h1>
        {live.connected === null && <p class="empty muted">Waiting for the broker …</p>}
      </>
    );
  }
  const { store, queues, pubsub, streams } = overview;
  return (
    <>
      <h1>Overview</h1>
      <Health overview={overview} />
      <div class="brokers">
        <section class="card">
          <h2>
            <a href={link(["store"])}>Store</a> <small>{counted(store.keys, "key")}</small>
          </h2>
          <RateChart
            live={live}
            title="Changes"
            counters={[
              ["store.version", "changed"],
              ["store.expired", "expired"],
              ["store.evicted", "evicted"],
            ]}
          />
        </section>
        <section class="card">
          <h2>
            <a href={link(["pubsub"])}>Pub/Sub</a>{" "}
            <small>{counted(pubsub.subscriptions, "subscription")}</small>
          </h2>
          <RateChart
            live={live}
            title="Messages"
            counters={[
              ["pubsub.published", "published"],
              ["pubsub.delivered", "delivered"],
              ["pubsub.dropped", "dropped"],
            ]}
          />
        </section>
        <section class="card">
          <h2>
            <a href={link(["queues"])}>Queues</a>{" "}
            <small>
              {compact(queues.ready)} ready, {compact(queues.leased)} leased
              {queues.dead > 0 && <b class="bad">, {compact(queues.dead)} dead</b>}
            </small>
          </h2>
          <RateChart
            live={live}
            title="Messages"
            counters={[
              ["queues.pushed", "pushed"],
              ["queues.delivered", "delivered"],
              ["queues.acked", "acked"],
            ]}
          />
        </section>
        <section class="card">
          <h2>
            <a href={link(["streams"])}>Streams</a>{" "}
            <small>
              {compact(streams.records)} records, {bytes(streams.bytes)}
              {streams.dead > 0 && <b class="bad">, {compact(streams.dead)} dead</b>}
            </small>
          </h2>
          <RateChart
            live={live}
            title="Records"
            counters={[
              ["streams.appended", "appended"],
              ["streams.delivered", "delivered"],
              ["streams.acked", "acked"],
            ]}
          />
        </section>
      </div>
      <h2>The node</h2>
      <Node overview={overview} />
      <div class="charts">
        <LevelChart
          live={live}
          title="Waiting work"
          series={[
            ["queues.ready", "ready"],
            ["queues.delayed", "delayed"],
            ["streams.pending", "with groups"],
            ["queues.dead", "dead"],
          ]}
          format={compact}
        />
        <LevelChart
          live={live}
          title="Connections"
          series={[["connections.open", "open"]]}
          format={compact}
        />
        <LevelChart
          live={live}
          title="Memory"
          series={[
            ["memory.rss_bytes", "process"],
            ["memory.store_bytes", "store"],
            ["memory.queue_bytes", "queues"],
          ]}
          format={bytes}
        />
        <LevelChart live={live} title="Sync" series={[["storage.last_sync_ms", "last"]]} format={latency} />
        <LevelChart live={live} title="Event loop lag" series={[["loop.lag_ms", "lag"]]} format={latency} />
      </div>
      <p class="muted">The last hour at most. Point at a chart to read all of them at that time.</p>
    </>
  );
}
