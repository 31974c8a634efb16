#!/usr/bin/env node
import { existsSync } from 'node:fs'
import module from 'node:module'
import { join } from 'node:path'
import { runKept } from './kept-code.ts'
import { isQuick } from './quick.ts'
import { wantThreads } from './threads.ts'

/** Where what was compiled is kept for the next start: in a folder of this person's. */
function compiledFolder({ XDG_CACHE_HOME: cache, HOME: home } = process.env): string | undefined {
  const base = cache || (home && join(home, '.cache'))
  return base ? join(base, 'ssh-websocket-tunnel', 'compiled') : undefined
}

const { enableCompileCache } = module as { enableCompileCache?: (folder: string) => unknown }
const folder = compiledFolder()
// Node does it from 22.8 on. A folder that cannot be written is no error.
if (folder !== undefined) enableCompileCache?.(folder)

const words = process.argv.slice(2)
if (words[0] === 'agent' || words[0] === 'server') wantThreads()
// Where the build had no bundler there is none.
const quick = join(import.meta.dirname, 'quick.cjs')
if (!isQuick(words, process.env) || !existsSync(quick)) void import('./run.ts')
else if (enableCompileCache !== undefined) module.createRequire(import.meta.url)(quick)
else runKept(quick, folder, words[0] as string)
