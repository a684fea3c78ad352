// SPDX-License-Identifier: Apache-2.0
// Light, dark, or whatever the system says. A page opened from a file may have no storage: then the
// choice lasts as long as the page.

export type Theme = 'system' | 'light' | 'dark';
const themes: readonly Theme[] = ['system', 'light', 'dark'];
const kKey = 'nvfp4-theme';

export function savedTheme(): Theme {
  try {
    return themes.find((theme) => theme === localStorage.getItem(kKey)) ?? 'system';
  } catch {
    return 'system';
  }
}

export function applyTheme(theme: Theme): void {
  if (theme === 'system') delete document.documentElement.dataset['theme'];
  else document.documentElement.dataset['theme'] = theme;
  try {
    localStorage.setItem(kKey, theme);
  } catch {
    // Without storage it is forgotten with the page.
  }
}

export const nextTheme = (theme: Theme): Theme => themes[(themes.indexOf(theme) + 1) % themes.length] as Theme;
