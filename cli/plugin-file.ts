import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { FastifyPluginAsync } from 'fastify'
import { TunnelError } from '../protocol/errors.ts'

/** Loads a custom plugin: a module, JavaScript or TypeScript, whose default export is a Fastify plugin. */
export async function loadPlugin(file: string): Promise<FastifyPluginAsync> {
  const path = resolve(file)
  if (!existsSync(path)) throw refused(`there is no plugin ${path}`)
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
  const url = pathToFileURL(path).href
  try {
    return await import(url)
  } catch (error) {
    // Node 22.18 reads TypeScript by itself; before that it takes tsx, into the same module cache as ours.
    if (!(error instanceof Error && 'code' in error && error.code === 'ERR_UNKNOWN_FILE_EXTENSION'))
      throw error
  }
  try {
    const { register } = await import('tsx/esm/api')
    register()
  } catch (cause) {
    throw refused(`${path} is TypeScript, and this Node needs tsx to read it: npm install tsx`, cause)
  }
  return await import(url)
}

function refused(message: string, cause?: unknown): TunnelError {
  return new TunnelError('CONFIG_INVALID', message, { hop: 'proxy', cause })
}
