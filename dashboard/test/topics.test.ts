import { expect, it } from "vitest";
import { type TopicNode, topicTree } from "../src/lib/topics";

const outline = (nodes: TopicNode<string>[]): unknown[] =>
  nodes.map((node) => [node.level, node.items, node.total, outline(node.children)]);

it("nests levels in the order of their text, and counts what is below", () =>
  expect(outline(topicTree(["b", "a/x", "a/#", "a"], (topic) => topic))).toEqual([
    [
      "a",
      ["a"],
      3,
      [
        ["#", ["a/#"], 1, []],
        ["x", ["a/x"], 1, []],
      ],
    ],
    ["b", ["b"], 1, []],
  ]));

it("knows that an empty level is one", () =>
  expect(outline(topicTree(["/a", "a/"], (topic) => topic))).toEqual([
    ["", [], 1, [["a", ["/a"], 1, []]]],
    ["a", [], 1, [["", ["a/"], 1, []]]],
  ]));

it("gives each node the path that it stands for", () => {
  const [root] = topicTree(["a//b"], (topic) => topic);
  expect(root!.children[0]!.path).toBe("a/");
  expect(root!.children[0]!.children[0]!.path).toBe("a//b");
});
