import { render } from "preact";
import { App } from "./app";
import { startLive } from "./lib/live";
import "./styles/base.css";
import "./styles/parts.css";
import "./styles/pages.css";

startLive();
render(<App />, document.getElementById("app")!);
