import { statSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { TunnelError } from '../protocol/codec/errors.ts'
import type { CustomPlugin, TunnelPlugin } from './plugin.ts'

const hasTypeScript = Boolean((process.features as { typescript?: unknown }).typescript)

/**
 * Loads a custom plugin: a module, JavaScript or TypeScript, whose default export is a Fastify plugin, and which may
 * export the schema of its options as `optionsSchema`.
 * @param path a file, a package's folder, or the name of a package that is installed
 * @param folder what a relative path is relative to, and where packages are looked for. @default the working directory
 * @throws {TunnelError} CONFIG_INVALID
 */
export async function loadPlugin(
  path: string,
  options: object = {},
  folder = process.cwd(),
): Promise<CustomPlugin> {
  const file = fileOf(path, folder)
  let exported: { default?: unknown; optionsSchema?: TunnelPlugin['optionsSchema'] }
  try {
    exported = (await importFile(file)) as typeof exported
  } catch (cause) {
    if (cause instanceof TunnelError) throw cause
    throw refused(
      `the plugin ${file} cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}`,
      cause,
    )
  }
  if (typeof exported.default !== 'function')
    throw refused(`the plugin ${file} has no default export that is a function`)
  const plugin = exported.default as TunnelPlugin
  if (exported.optionsSchema !== undefined) plugin.optionsSchema = exported.optionsSchema
  return { plugin, options, from: file }
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
