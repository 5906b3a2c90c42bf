// What the HTTP API answers with: docs/http-api.md, as far as the dashboard reads it.
import type { Json } from "./json";

export type ValueType = "str" | "json" | "int" | "bytes";

export interface Value {
  type: ValueType;
  /** Text, JSON, a number or its digits, base64: by type. A text if truncated. */
  value: Json;
  bytes: number;
  truncated?: boolean;
}

export interface Header {
  name: string;
  value?: string;
  base64?: string;
}

export interface Page<T> {
  items: T[];
  next: string | null;
}

export interface Alarm {
  level: "warning" | "critical";
  code: string;
  message: string;
}

export interface Overview {
  at: number;
  version: string;
  compiled: boolean;
  started_at: number;
  uptime_ms: number;
  ready: boolean;
  alarms: Alarm[];
  connections: { open: number; max: number; http: number };
  memory: { rss_bytes: number; store_bytes: number; store_max_bytes: number; queue_bytes: number };
  loop: { lag_ms: number; lag_max_ms: number };
  storage: {
    state: "ok" | "full" | "fenced";
    fault: string;
    pending_bytes: number;
    files: number;
    last_sync_ms: number | null;
  };
  store: { keys: number };
  queues: { queues: number; ready: number; leased: number; delayed: number; dead: number };
  pubsub: { subscriptions: number; retained: number; dropped: number };
  streams: { streams: number; records: number; bytes: number; pending: number; dead: number };
}

export interface Key {
  key: string;
  path: string;
  type: ValueType;
  bytes: number;
  version: number;
  expires_at: number;
  ttl_ms: number | null;
}

export interface Queue {
  name: string;
  paused: boolean;
  paused_until: number;
  messages: number;
  bytes: number;
  ready: number;
  held: number;
  delayed: number;
  leased: number;
  dead_letters: number;
  oldest_age_ms: number;
  waiting_consumers: number;
  created_at: number;
  pushed: number;
  delivered: number;
  redelivered: number;
  acked: number;
  nacked: number;
  [option: string]: number | string | boolean;
}

export type QueueState = "ready" | "leased" | "delayed" | "held" | "dead";

export interface QueueMessage extends Value {
  id: number;
  state: QueueState;
  priority: number;
  attempts: number;
  enqueued_at: number;
  due_at: number;
  expires_at: number;
  group: string;
  reason: string;
  headers: Header[];
  died_at?: number;
}

export interface Topic {
  topic: string;
  pattern: boolean;
  subscribers: number;
  groups: { name: string; members: number }[];
  pending_messages: number;
  pending_bytes: number;
  /** To those who subscribe now, all together. */
  delivered: number;
  dropped: number;
  retained: (Value & { headers: Header[]; expires_at: number }) | null;
}

export interface TailMessage extends Value {
  topic: string;
  at: number;
  headers: Header[];
}

export interface Stream {
  name: string;
  max_age_ms: number;
  max_bytes: number;
  max_records: number;
  durability: string;
  created_at: number;
  first_seq: number;
  last_seq: number;
  records: number;
  bytes: number;
  groups: number;
}

export interface Group {
  name: string;
  ack_floor: number;
  lag_messages: number;
  lag_ms: number;
  leased: number;
  members: number;
  dead: number;
  generation: number;
  delivered: number;
  acked: number;
  nacked: number;
}

export interface StreamRecord extends Value {
  seq: number;
  timestamp: number;
  key: string;
  headers: Header[];
}

export interface DeadRecord extends StreamRecord {
  attempts: number;
  died_at: number;
  reason: string;
}

export interface Connection {
  id: number;
  protocol: string;
  address: string;
  name: string;
  since: number;
  received_bytes: number;
  sent_bytes: number;
  subscriptions: number;
  pending_bytes: number;
  dropped: number;
  blocked: boolean;
}
