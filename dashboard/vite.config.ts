// SPDX-License-Identifier: Apache-2.0
// One file that opens by double click. Its policy names the one script that may run by its hash: text
// of a database could not run even if it came to stand in the page as markup.
import { createHash } from 'node:crypto';
import { type Plugin, defineConfig } from 'vite';
import { viteSingleFile } from 'vite-plugin-singlefile';

// Texts of the script that are no ASCII, escaped: one of them makes a browser keep and parse all of a page
// of 7 MB in two bytes a letter, which takes 0.3 s longer.
const escapedScript = (script: string): string =>
  script.replace(/[^\x00-\x7f]/g, (letter) => `\\u${letter.charCodeAt(0).toString(16).padStart(4, '0')}`);

function contentSecurityPolicy(): Plugin {
  return {
    name: 'content-security-policy',
    enforce: 'post',
    generateBundle: {
      order: 'post',
      handler(_options, bundle) {
        for (const page of Object.values(bundle)) {
          if (page.type !== 'asset' || !page.fileName.endsWith('.html')) continue;
          const html = String(page.source).replace(/(<script type="module"[^>]*>)([\s\S]*?)(<\/script>)/g, (_all, open: string, script: string, close: string) => open + escapedScript(script) + close);
          const scripts = [...html.matchAll(/<script type="module"[^>]*>([\s\S]*?)<\/script>/g)];
          const hashes = scripts.map((script) => `'sha256-${createHash('sha256').update(script[1] ?? '').digest('base64')}'`);
          const policy = [
            "default-src 'none'", `script-src ${hashes.join(' ')} 'wasm-unsafe-eval'`, "style-src 'unsafe-inline'",
            'img-src data: blob:', 'connect-src http: https: data: file:', "base-uri 'none'", "form-action 'none'",
          ].join('; ');
          page.source = html.replace('<meta charset="utf-8" />', `<meta charset="utf-8" />\n    <meta http-equiv="Content-Security-Policy" content="${policy}" />`);
        }
      },
    },
  };
}

export default defineConfig({
  plugins: [viteSingleFile({ removeViteModuleLoader: true }), contentSecurityPolicy()],
  build: { target: 'es2022', cssCodeSplit: false, assetsInlineLimit: Number.MAX_SAFE_INTEGER, reportCompressedSize: false },
});
