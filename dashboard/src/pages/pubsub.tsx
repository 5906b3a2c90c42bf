// Who listens to what, what is retained, and what is being said right now.
import { useState } from "preact/hooks";
import { address, remove, send } from "../lib/api";
import { bytes, clock, counted, moment, perSecond, whole } from "../lib/format";
import { usePages, useSettled } from "../lib/hooks";
import { serverNow, useLive } from "../lib/live";
import { link } from "../lib/router";
import { type TopicNode, topicTree } from "../lib/topics";
import { latestRate, trace } from "../lib/trace";
import type { TailMessage, Topic, ValueType } from "../lib/types";
import { typedHeaders, typedValue, withValue } from "../lib/value";
import { FormDialog } from "../ui/dialog";
import { MessageRow } from "../ui/message";
import { notify } from "../ui/notice";
import { Badge, Check, Field, ListState, Pager, Problem } from "../ui/parts";
import { Tail } from "../ui/tail";
import { HeadersEditor, ValueEditor } from "../ui/value";

const TOPICS_PER_PAGE = 500;
const VALUE_BYTES_MAX = 10_000;
const OPEN_TOTAL_MAX = 40;

interface Rated extends Topic {
  /** Messages a second to its subscribers; NaN until two readings are there. */
  rate: number;
}

function TopicFacts({ topic, onClear }: { topic: Rated; onClear: (topic: Topic) => void }) {
  return (
    <>
      {topic.subscribers > 0 && <Badge>{counted(topic.subscribers, "subscriber")}</Badge>}{" "}
      {topic.groups.map((group) => (
        <Badge key={group.name}>
          group {group.name}: {counted(group.members, "member")}
        </Badge>
      ))}{" "}
      {topic.subscribers + topic.groups.length > 0 && !Number.isNaN(topic.rate) && (
        <span class="muted">{perSecond(topic.rate)} delivered</span>
      )}{" "}
      {topic.pending_messages > 0 && (
        <Badge tone="warn">
          {whole(topic.pending_messages)} waiting ({bytes(topic.pending_bytes)})
        </Badge>
      )}{" "}
      {topic.dropped > 0 && <Badge tone="bad">{whole(topic.dropped)} dropped</Badge>}
      {topic.retained !== null && (
        <MessageRow value={topic.retained} head={<span class="muted">retained</span>}>
          <div class="buttons">
            {topic.retained.expires_at > 0 && (
              <span class="muted">Expires {moment(topic.retained.expires_at)}</span>
            )}
            <button type="button" class="danger" onClick={() => onClear(topic)}>
              Clear …
            </button>
          </div>
        </MessageRow>
      )}
    </>
  );
}

function Node({ node, onClear }: { node: TopicNode<Rated>; onClear: (topic: Topic) => void }) {
  const [open, setOpen] = useState(node.total <= OPEN_TOTAL_MAX);
  const name = <span class="mono level">{node.level === "" ? "(empty)" : node.level}</span>;
  const facts = node.items.map((topic) => <TopicFacts key={topic.topic} topic={topic} onClear={onClear} />);
  if (node.children.length === 0) {
    return (
      <li>
        {name} {facts}
      </li>
    );
  }
  return (
    <li>
      <details open={open} onToggle={(event) => setOpen(event.currentTarget.open)}>
        <summary>
          {name} <small class="muted">{whole(node.total)}</small>
        </summary>
        {facts.length > 0 && <div class="facts-here">{facts}</div>}
        {open && (
          <ul>
            {node.children.map((child) => (
              <Node key={child.path} node={child} onClear={onClear} />
            ))}
          </ul>
        )}
      </details>
    </li>
  );
}

function Topics() {
  const [typed, setTyped] = useState("");
  const prefix = useSettled(typed);
  const [clearing, setClearing] = useState<Topic | null>(null);
  const pages = usePages<Topic>(
    (after) =>
      address(["pubsub", "topics"], {
        prefix,
        after,
        limit: TOPICS_PER_PAGE,
        value_bytes_max: VALUE_BYTES_MAX,
      }),
    3_000,
  );
  const at_ms = pages.read_ms + serverNow() - Date.now();
  const items = (pages.data?.items ?? []).map((topic): Rated => {
    const columns = trace(`topic ${topic.topic}`, at_ms, { delivered: topic.delivered });
    return { ...topic, rate: latestRate(columns, "delivered") };
  });
  const slow = items.filter((topic) => topic.dropped > 0 || topic.pending_messages > 0);
  return (
    <section class="card" aria-labelledby="topics">
      <h2 id="topics">Subscriptions and retained values</h2>
      <div role="search">
        <Field label="Topics that begin with" type="search" mono value={typed} onInput={setTyped} />
      </div>
      {slow.length > 0 && (
        <div class="alarm warn">
          <b>Slow subscribers</b>
          <ul>
            {slow.map((topic) => (
              <li key={topic.topic}>
                <code>{topic.topic}</code>: {whole(topic.pending_messages)} waiting, {whole(topic.dropped)}{" "}
                dropped
              </li>
            ))}
          </ul>
          <a href={link(["connections"])}>Which connections they are</a>
        </div>
      )}
      {items.length > 0 && (
        <ul class="tree">
          {topicTree(items, (topic) => topic.topic).map((node) => (
            <Node key={node.path} node={node} onClear={setClearing} />
          ))}
        </ul>
      )}
      <ListState
        pages={pages}
        empty={prefix === "" ? "Nobody listens, and nothing is retained." : "No topic begins so."}
      />
      <Pager pages={pages} noun="topic" />
      {clearing !== null && (
        <FormDialog
          title="Clear this retained value?"
          action="Clear"
          danger
          onClose={() => setClearing(null)}
          run={async () => {
            await remove(address(["pubsub", "retained", clearing.topic]));
            notify(`Cleared ${clearing.topic}`);
            pages.reload();
          }}
        >
          <p>
            Who subscribes to <code>{clearing.topic}</code> from now on gets nothing at first.
          </p>
        </FormDialog>
      )}
    </section>
  );
}

function LiveTail() {
  const [filter, setFilter] = useState("#");
  const [retained, setRetained] = useState(false);
  const [listening, setListening] = useState<{ filter: string; retained: boolean } | null>(null);
  return (
    <section class="card" aria-labelledby="tail">
      <h2 id="tail">Live tail</h2>
      <form
        class="inline"
        onSubmit={(event) => {
          event.preventDefault();
          setListening(listening === null ? { filter, retained } : null);
        }}
      >
        <Field label="Filter" mono value={filter} onInput={setFilter} placeholder="sensors/+/temperature" />
        <Check label="Retained values first" value={retained} onChange={setRetained} />
        <button type="submit" class={listening === null ? "primary" : ""} disabled={filter === ""}>
          {listening === null ? "Listen" : "Stop"}
        </button>
      </form>
      {listening !== null && (
        <Tail<TailMessage>
          key={`${listening.filter} ${listening.retained}`}
          url={(last) =>
            address(["pubsub", "tail"], {
              filter: listening.filter,
              retained: last === null && listening.retained ? true : undefined,
            })
          }
          event="message"
          noun="message"
          row={(message) => (
            <MessageRow
              value={message}
              head={
                <>
                  <time class="muted">{clock(message.at)}</time> <b class="mono">{message.topic}</b>
                </>
              }
            />
          )}
        />
      )}
    </section>
  );
}

function Publish() {
  const [topic, setTopic] = useState("");
  const [type, setType] = useState<ValueType>("str");
  const [text, setText] = useState("");
  const [headers, setHeaders] = useState("");
  const [retain, setRetain] = useState(false);
  const [seconds, setSeconds] = useState("");
  const [error, setError] = useState<string | null>(null);
  const publish = async (event: Event): Promise<void> => {
    event.preventDefault();
    setError(null);
    try {
      const ttl_ms = Math.round(Number(seconds) * 1000);
      const fields = {
        topic,
        headers: typedHeaders(headers),
        retain,
        ...(retain && ttl_ms > 0 ? { ttl_ms } : {}),
      };
      const body = withValue(fields, type, typedValue(type, text));
      const { receivers } = await send<{ receivers: number }>("POST", address(["pubsub", "publish"]), body);
      notify(
        receivers === 0 ? "Published; nobody listens" : `Published to ${counted(receivers, "receiver")}`,
      );
    } catch (problem) {
      setError(problem instanceof Error ? problem.message : String(problem));
    }
  };
  return (
    <section class="card" aria-labelledby="publish">
      <h2 id="publish">Publish</h2>
      <form onSubmit={publish}>
        <Field
          label="Topic"
          mono
          value={topic}
          onInput={setTopic}
          placeholder="sensors/kitchen/temperature"
        />
        <ValueEditor type={type} text={text} onType={setType} onText={setText} />
        <HeadersEditor text={headers} onText={setHeaders} />
        <div class="fields">
          <Check label="Retain" value={retain} onChange={setRetain} />
          {retain && (
            <Field label="For seconds (empty: for good)" type="number" value={seconds} onInput={setSeconds} />
          )}
        </div>
        <Problem text={error} />
        <button type="submit" class="primary" disabled={topic === ""}>
          Publish
        </button>
      </form>
    </section>
  );
}

export function PubsubPage() {
  const { overview } = useLive();
  return (
    <>
      <h1>Pub/Sub</h1>
      {overview !== null && (
        <p class="muted">
          {counted(overview.pubsub.subscriptions, "subscription")},{" "}
          {counted(overview.pubsub.retained, "retained value")}, {whole(overview.pubsub.dropped)} messages
          dropped since the start.
        </p>
      )}
      <div class="columns">
        <Topics />
        <div>
          <LiveTail />
          <Publish />
        </div>
      </div>
    </>
  );
}
