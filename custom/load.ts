import { statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { pathToFileURL } from 'node:url'
import { TunnelError } from '../protocol/codec/errors.ts'
import type { CustomPlugin, TunnelPlugin } from './plugin.ts'

/** How long the code of a module may run until it is loaded, in ms. */
const LOAD_MS = 10_000

const hasTypeScript = Boolean((process.features as { typescript?: unknown }).typescript)

/**
 * Loads a custom plugin: a module, JavaScript or TypeScript, whose default export is a Fastify plugin, and which may
 * export the schema of its options as `optionsSchema`.
 * @param path a file, a package's folder, or the name of a package that is installed
 * @param folder what a relative path is relative to, and where packages are looked for. @default the working directory
 * @param timeoutMs how long its module may take. @default 10_000
 * @throws {TunnelError} CONFIG_INVALID
 */
export async function loadPlugin(
  path: string,
  options: object = {},
  folder = process.cwd(),
  timeoutMs = LOAD_MS,
): Promise<CustomPlugin> {
  const file = fileOf(path, folder)
  let exported: { default?: unknown; optionsSchema?: TunnelPlugin['optionsSchema'] }
  const timer = new AbortController()
  try {
    exported = (await Promise.race([
      importFile(file),
      late(file, timeoutMs, timer.signal),
    ])) as typeof exported
  } catch (cause) {
    if (cause instanceof TunnelError) throw cause
    throw refused(
      `the plugin ${file} cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}`,
      cause,
    )
  } finally {
    timer.abort()
  }
  if (typeof exported.default !== 'function')
    throw refused(`the plugin ${file} has no default export that is a function`)
  const plugin = exported.default as TunnelPlugin
  if (exported.optionsSchema !== undefined) plugin.optionsSchema = exported.optionsSchema
  return { plugin, options, from: file }
}

/** Throws after `ms`. Its timer keeps the process, which Node would end without a word while nothing else is to come. */
async function late(file: string, ms: number, signal: AbortSignal): Promise<void> {
  await setTimeout(ms, undefined, { signal }).catch(() => {})
  if (!signal.aborted)
    throw refused(`the plugin ${file} was not loaded in time: it waits outside of functions`)
}

function fileOf(path: string, folder: string): string {
  const file = resolve(folder, path)
  const found = statSync(file, { throwIfNoEntry: false })
  if (found?.isFile()) return file
  try {
    if (found === undefined) return createRequire(join(folder, 'here')).resolve(path)
    // Asked from inside, a package has the way in that its `exports` say.
    const inside = createRequire(join(file, 'here'))
    const { name, exports } = inside('./package.json') as { name?: string; exports?: unknown }
    return inside.resolve(exports === undefined || name === undefined ? file : name)
  } catch (cause) {
    throw refused(
      found === undefined
        ? `the plugin ${path} does not exist: it is not a file in ${folder}, nor a package that is installed there`
        : `the plugin ${file} is a folder, and not that of a package: ${(cause as Error).message.split('\n', 1)[0]}`,
      cause,
    )
  }
}

async function importFile(path: string): Promise<unknown> {
  // Whoever runs this file as TypeScript reads the plugin too; so does Node from 22.18 on.
  const readsTypeScript = import.meta.url.endsWith('.ts') || hasTypeScript
  if (/\.[mc]?ts$/.test(path) && !readsTypeScript) await readTypeScript(path)
  return await import(pathToFileURL(path).href)
}

/** By tsx, into the same module cache as ours. */
async function readTypeScript(path: string): Promise<void> {
  try {
    const { register } = await import('tsx/esm/api')
    register()
  } catch (cause) {
    throw refused(`${path} is TypeScript, and this Node needs tsx to read it: npm install tsx`, cause)
  }
}

function refused(message: string, cause?: unknown): TunnelError {
  return new TunnelError('CONFIG_INVALID', message, { hop: 'proxy', cause })
}
