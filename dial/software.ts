import { readFileSync } from 'node:fs'

let version: string | undefined

/** This package's version. */
export function packageVersion(): string {
  // Every link says it.
  version ??= readVersion()
  return version
}

function readVersion(): string {
  // dist/dial and dial are at different depths below package.json.
  for (const path of ['../package.json', '../../package.json']) {
    try {
      const text = readFileSync(new URL(path, import.meta.url), 'utf8')
      return (JSON.parse(text) as { version: string }).version
    } catch {
      // The other depth.
    }
  }
  return 'unknown'
}

/** What a HELLO says of the program, for people: `ssh-websocket-tunnel agent/1.0.0 (node 20.20.2)`. */
export function softwareOf(part: 'agent' | 'client' | 'proxy'): string {
  return `ssh-websocket-tunnel ${part}/${packageVersion()} (node ${process.versions.node})`
}
