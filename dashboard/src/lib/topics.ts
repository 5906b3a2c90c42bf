// A flat list of topics or filters as a tree of their levels.

export interface TopicNode<T> {
  /** The level's own text; "" is a level, too. */
  level: string;
  /** All levels down to here, joined. */
  path: string;
  /** What stands at exactly this topic. */
  items: T[];
  children: TopicNode<T>[];
  /** Items here and below. */
  total: number;
}

/** The roots, each level in the order of its text. */
export function topicTree<T>(entries: readonly T[], topic: (entry: T) => string): TopicNode<T>[] {
  const root: TopicNode<T> = { level: "", path: "", items: [], children: [], total: 0 };
  const known = new Map<string, TopicNode<T>>();
  for (const entry of entries) {
    let node = root;
    let path = "";
    topic(entry)
      .split("/")
      .forEach((level, depth) => {
        path = depth === 0 ? level : `${path}/${level}`;
        // Depth tells the topic "" from the root's own path.
        const key = `${depth}:${path}`;
        let child = known.get(key);
        if (child === undefined) {
          child = { level, path, items: [], children: [], total: 0 };
          known.set(key, child);
          node.children.push(child);
        }
        child.total += 1;
        node = child;
      });
    node.items.push(entry);
  }
  const order = (nodes: TopicNode<T>[]): TopicNode<T>[] => {
    nodes.sort((a, b) => (a.level < b.level ? -1 : a.level > b.level ? 1 : 0));
    nodes.forEach((node) => order(node.children));
    return nodes;
  };
  return order(root.children);
}
