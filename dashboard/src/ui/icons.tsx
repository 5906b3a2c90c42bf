// The pictures beside the names of pages. They say nothing that the names do not.

const PATHS = {
  nexo: "M6 20V4l12 16V4",
  overview: "M3 20h18M6 16v-5M11 16V5M16 16V9M20 16v-3",
  store: "M4 6c0-3 16-3 16 0v12c0 3-16 3-16 0zM4 6c0 3 16 3 16 0M4 12c0 3 16 3 16 0",
  queues: "M4 6h16M4 12h16M4 18h9M17 16l3 2-3 2",
  pubsub: "M12 12h.01M8 16a6 6 0 0 1 0-8M16 8a6 6 0 0 1 0 8M5 19a10 10 0 0 1 0-14M19 5a10 10 0 0 1 0 14",
  streams: "M3 8c3-4 6 4 9 0s6 4 9 0M3 16c3-4 6 4 9 0s6 4 9 0",
  connections: "M5 8a3 3 0 1 0 0-.01M13 18a3 3 0 1 0 0-.01M17 7a2 2 0 1 0 0-.01M10 10l4 5M17 9l-1 6M11 7.5h5",
} as const;

export type IconName = keyof typeof PATHS;

export function Icon({ name }: { name: IconName }) {
  return (
    <svg class="icon" viewBox="0 0 24 24" aria-hidden="true" focusable="false">
      <path d={PATHS[name]} />
    </svg>
  );
}
