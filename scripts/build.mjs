// Compiles the sources into dist/. Run by `npm ci` through "prepare", so that `npx tunnel` works right after it.
import { spawnSync } from 'node:child_process'
import { chmodSync, cpSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const require = createRequire(import.meta.url)
const tsc = join(dirname(require.resolve('typescript/package.json')), 'bin', 'tsc')

rmSync(join(root, 'dist'), { recursive: true, force: true })
const compiled = spawnSync(process.execPath, [tsc, '-p', 'tsconfig.build.json'], {
  cwd: root,
  stdio: 'inherit',
})
if (compiled.status !== 0) process.exit(compiled.status ?? 1)
cpSync(join(root, 'config', 'profiles'), join(root, 'dist', 'config', 'profiles'), { recursive: true })

// Every profile's client settings, so that `tunnel stdio` starts without TypeBox (client/profiles.ts reads them).
const { resolveSettings } = await import(pathToFileURL(join(root, 'dist', 'client', 'settings.js')).href)
const profiles = join(root, 'config', 'profiles')
const resolved = readdirSync(profiles).map((file) => {
  const name = file.replace(/\.json$/, '')
  return [name, resolveSettings(JSON.parse(readFileSync(join(profiles, file), 'utf8')), name)]
})
writeFileSync(
  join(root, 'dist', 'client', 'resolved-profiles.json'),
  JSON.stringify(Object.fromEntries(resolved)),
)

chmodSync(join(root, 'dist', 'cli', 'main.js'), 0o755)
