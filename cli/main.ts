#!/usr/bin/env node
import module from 'node:module'
import { join } from 'node:path'

/** Has what Node compiled kept for the next start, where it can (22.8); in a folder that nobody else may write. */
function keepCompiled({ XDG_CACHE_HOME: cache, HOME: home } = process.env): void {
  const { enableCompileCache } = module as { enableCompileCache?: (folder: string) => unknown }
  const base = cache || (home && join(home, '.cache'))
  // One that cannot be written is no error.
  if (base) enableCompileCache?.(join(base, 'ssh-websocket-tunnel', 'compiled'))
}

keepCompiled()
await import('./run.ts')
