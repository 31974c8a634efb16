import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { FastifyPluginAsync } from 'fastify'
import { TunnelError } from '../protocol/codec/errors.ts'

const hasTypeScript = Boolean((process.features as { typescript?: unknown }).typescript)

/** Loads a custom plugin: a module, JavaScript or TypeScript, whose default export is a Fastify plugin. */
export async function loadPlugin(file: string): Promise<FastifyPluginAsync> {
  const path = resolve(file)
  if (!existsSync(path)) throw refused(`the plugin ${path} does not exist`)
  let exported: unknown
  try {
    exported = await importFile(path)
  } catch (cause) {
    if (cause instanceof TunnelError) throw cause
    throw refused(
      `the plugin ${path} cannot be loaded: ${cause instanceof Error ? cause.message : String(cause)}`,
      cause,
    )
  }
  const plugin = (exported as { default?: unknown }).default
  if (typeof plugin !== 'function')
    throw refused(`the plugin ${path} has no default export that is a function`)
  return plugin as FastifyPluginAsync
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
