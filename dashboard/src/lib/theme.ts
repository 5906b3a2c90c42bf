// Light, dark, or as the system has it. public/theme.js applies the stored choice before the first paint.
import { useEffect, useState } from "preact/hooks";

export type Theme = "system" | "light" | "dark";
const KEY = "nexo-theme";
const THEME_EVENT = "nexo-theme";

function stored(): Theme {
  const theme = document.documentElement.dataset["theme"];
  return theme === "light" || theme === "dark" ? theme : "system";
}

export function useTheme(): [Theme, (theme: Theme) => void] {
  const [theme, setTheme] = useState(stored);
  return [
    theme,
    (next) => {
      if (next === "system") delete document.documentElement.dataset["theme"];
      else document.documentElement.dataset["theme"] = next;
      try {
        if (next === "system") localStorage.removeItem(KEY);
        else localStorage.setItem(KEY, next);
      } catch {
        // Storage is forbidden: the choice holds until the page is loaded again.
      }
      setTheme(next);
      dispatchEvent(new Event(THEME_EVENT));
    },
  ];
}

/** A number that changes whenever colours do, for what reads them from the style (charts). */
export function useColours(): number {
  const [version, setVersion] = useState(0);
  useEffect(() => {
    const bump = (): void => setVersion((value) => value + 1);
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", bump);
    addEventListener(THEME_EVENT, bump);
    return () => {
      system.removeEventListener("change", bump);
      removeEventListener(THEME_EVENT, bump);
    };
  }, []);
  return version;
}
