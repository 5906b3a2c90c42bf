// The frame around all pages: where one is, whether the broker is there, light or dark.
import { useEffect, useRef } from "preact/hooks";
import { duration } from "./lib/format";
import { useTick } from "./lib/hooks";
import { useLive } from "./lib/live";
import { link, useRoute } from "./lib/router";
import { type Theme, useTheme } from "./lib/theme";
import { ConnectionsPage } from "./pages/connections";
import { OverviewPage } from "./pages/overview";
import { PubsubPage } from "./pages/pubsub";
import { QueuePage } from "./pages/queue";
import { QueuesPage } from "./pages/queues";
import { StorePage } from "./pages/store";
import { StreamPage } from "./pages/stream";
import { StreamsPage } from "./pages/streams";
import { Icon, type IconName } from "./ui/icons";
import { Notices } from "./ui/notice";

const PAGES: readonly (readonly [string, string, IconName])[] = [
  ["overview", "Overview", "overview"],
  ["store", "Store", "store"],
  ["queues", "Queues", "queues"],
  ["pubsub", "Pub/Sub", "pubsub"],
  ["streams", "Streams", "streams"],
  ["connections", "Connections", "connections"],
];

const THEMES: readonly (readonly [Theme, string])[] = [
  ["system", "Auto"],
  ["light", "Light"],
  ["dark", "Dark"],
];

function Page({ path }: { path: readonly string[] }) {
  const [page = "overview", name] = path;
  switch (page) {
    case "overview":
      return <OverviewPage />;
    case "store":
      return <StorePage />;
    case "queues":
      return name === undefined ? <QueuesPage /> : <QueuePage key={name} name={name} />;
    case "pubsub":
      return <PubsubPage />;
    case "streams":
      return name === undefined ? <StreamsPage /> : <StreamPage key={name} name={name} />;
    case "connections":
      return <ConnectionsPage />;
    default:
      return (
        <>
          <h1>There is no such page</h1>
          <p>
            <a href="#/">To the overview</a>
          </p>
        </>
      );
  }
}

function ThemeSwitch() {
  const [theme, setTheme] = useTheme();
  return (
    <div class="tabs" role="group" aria-label="Colours">
      {THEMES.map(([name, label]) => (
        <button key={name} type="button" aria-pressed={name === theme} onClick={() => setTheme(name)}>
          {label}
        </button>
      ))}
    </div>
  );
}

function GoneBanner({ since }: { since: number }) {
  useTick(1_000);
  return (
    <div class="banner" role="alert">
      <b>The broker does not answer</b> since {duration(Math.max(0, Date.now() - since))}. What you see is
      from before. This page goes on by itself when it is back.
    </div>
  );
}

export function App() {
  const { path } = useRoute();
  const { overview, connected, lost_at } = useLive();
  const main = useRef<HTMLElement>(null);
  const current = path[0] ?? "overview";
  const where = path.join("/");
  const visited = useRef(where);

  useEffect(() => {
    const title = PAGES.find(([name]) => name === current)?.[1] ?? "Nexo";
    document.title = `${path[1] ?? title} · Nexo`;
    if (visited.current === where) return;
    visited.current = where;
    scrollTo(0, 0);
    // A screen reader follows to the new page's heading.
    main.current?.focus({ preventScroll: true });
  }, [where]);

  const alarms = overview?.alarms.length ?? 0;
  return (
    <div class="frame">
      <a
        class="skip"
        href="#main"
        onClick={(event) => {
          event.preventDefault();
          main.current?.focus();
        }}
      >
        To the content
      </a>
      <header class="top">
        <a class="brand" href="#/">
          <Icon name="nexo" /> Nexo
        </a>
        <nav aria-label="Pages of the dashboard">
          {PAGES.map(([name, label, icon]) => (
            <a key={name} href={link([name])} aria-current={name === current ? "page" : undefined}>
              <Icon name={icon} />
              <span>{label}</span>
              {name === "overview" && alarms > 0 && (
                <span class="count" aria-label={`${alarms} alarms`}>
                  {alarms}
                </span>
              )}
            </a>
          ))}
        </nav>
        <div class="state">
          <span class={`dot ${connected === null ? "" : connected ? "ok" : "bad"}`} aria-hidden="true" />
          <span>
            {connected === null ? "Connecting …" : connected ? "Live" : "Gone"}
            {overview && <small class="muted"> {overview.version}</small>}
          </span>
        </div>
        <ThemeSwitch />
      </header>
      <main id="main" ref={main} tabIndex={-1}>
        {connected === false && <GoneBanner since={lost_at} />}
        <Page path={path} />
      </main>
      <Notices />
    </div>
  );
}
