// The records of a stream: from a sequence, from a time, the newest, or as they come.
import { useState } from "preact/hooks";
import { address } from "../lib/api";
import { counted, moment } from "../lib/format";
import { usePolled } from "../lib/hooks";
import type { Page, Stream, StreamRecord } from "../lib/types";
import { MessageRow } from "../ui/message";
import { notify } from "../ui/notice";
import { Choice, Field, Problem } from "../ui/parts";
import { Tail } from "../ui/tail";

const PAGE_RECORDS = 50;
const VALUE_BYTES_MAX = 10_000;

type Place = { last: number } | { from: number } | { time: number };
type Mode = "last" | "from" | "time";

function RecordRow({ record }: { record: StreamRecord }) {
  return (
    <MessageRow
      value={record}
      head={
        <>
          <b>{record.seq}</b> <time class="muted">{moment(record.timestamp)}</time>{" "}
          {record.key !== "" && <code>{record.key}</code>}
        </>
      }
    />
  );
}

export function Records({ stream }: { stream: Stream }) {
  const [mode, setMode] = useState<Mode>("last");
  const [seq, setSeq] = useState("1");
  const [time, setTime] = useState("");
  const [place, setPlace] = useState<Place>({ last: PAGE_RECORDS });
  const [newestFirst, setNewestFirst] = useState(true);
  const [following, setFollowing] = useState(false);
  const url = address(["streams", stream.name, "records"], {
    ...place,
    limit: PAGE_RECORDS,
    value_bytes_max: VALUE_BYTES_MAX,
  });
  const { data, error, reload } = usePolled<Page<StreamRecord>>(following ? null : url, 0);
  const items = data?.items ?? [];
  const first = items[0]?.seq;
  const last = items[items.length - 1]?.seq;
  const go = (event: Event): void => {
    event.preventDefault();
    setNewestFirst(mode === "last");
    if (mode === "last") setPlace({ last: PAGE_RECORDS });
    else if (mode === "from") setPlace({ from: Math.max(1, Number(seq)) });
    else if (time !== "") setPlace({ time: new Date(time).getTime() });
    reload();
  };
  return (
    <section class="card" aria-labelledby="records">
      <div class="heading">
        <h2 id="records">Records</h2>
        <button type="button" aria-pressed={following} onClick={() => setFollowing(!following)}>
          {following ? "Stop following" : "Follow live"}
        </button>
      </div>
      {following ? (
        <Tail<StreamRecord>
          url={(seen) =>
            address(["streams", stream.name, "follow"], seen === null ? {} : { from: seen.seq + 1 })
          }
          event="record"
          noun="record"
          row={(record) => <RecordRow record={record} />}
          onEnd={(reason) => {
            setFollowing(false);
            notify(`${stream.name}: ${reason}`, true);
          }}
        />
      ) : (
        <>
          <form class="inline" onSubmit={go}>
            <Choice<Mode>
              label="Show"
              value={mode}
              options={[
                ["last", "the newest"],
                ["from", "from a sequence"],
                ["time", "from a time"],
              ]}
              onChange={setMode}
            />
            {mode === "from" && <Field label="Sequence" type="number" value={seq} onInput={setSeq} />}
            {mode === "time" && (
              <Field label="Time (yours)" type="datetime-local" value={time} onInput={setTime} />
            )}
            <button type="submit">Show</button>
          </form>
          <Problem text={error} />
          <div class="messages">
            {(newestFirst ? [...items].reverse() : items).map((record) => (
              <RecordRow key={record.seq} record={record} />
            ))}
          </div>
          {data !== null && items.length === 0 && <p class="empty muted">No records here.</p>}
          <nav class="pager" aria-label="Pages of records">
            <button
              type="button"
              disabled={first === undefined || first <= stream.first_seq}
              onClick={() => setPlace({ from: Math.max(1, stream.first_seq, first! - PAGE_RECORDS) })}
            >
              Older
            </button>
            <span class="muted">{counted(items.length, "record")}</span>
            <button
              type="button"
              disabled={last === undefined || last >= stream.last_seq}
              onClick={() => setPlace({ from: last! + 1 })}
            >
              Newer
            </button>
          </nav>
        </>
      )}
    </section>
  );
}
