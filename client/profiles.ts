import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { TunnelError } from '../protocol/codec/errors.ts'
import type { ClientOverrides, ClientSettings } from './options.ts'

/** `config/profiles` of the sources, or of `dist`, where the build copies it. Read as data: the client imports no config. */
const PROFILES = join(import.meta.dirname, '..', 'config', 'profiles')
/** Written by the build: every profile resolved, so that a program without overrides starts without TypeBox (150 ms). */
const RESOLVED = join(import.meta.dirname, 'resolved-profiles.json')

const PROFILE_NAME = /^[a-z][a-z0-9-]{0,63}$/

async function readJson(path: string): Promise<unknown> {
  let text: string
  try {
    text = await readFile(path, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
  return JSON.parse(text) as unknown
}

/**
 * The client's settings of a profile, with overrides on top.
 * @throws {TunnelError} CONFIG_INVALID with every mistake there is
 */
export async function loadSettings(name = 'default', overrides?: ClientOverrides): Promise<ClientSettings> {
  if (overrides === undefined || Object.keys(overrides).length === 0) {
    const resolved = (await readJson(RESOLVED)) as Record<string, ClientSettings> | undefined
    if (resolved !== undefined && Object.hasOwn(resolved, name)) return resolved[name] as ClientSettings
  }
  const profile = PROFILE_NAME.test(name) ? await readJson(join(PROFILES, `${name}.json`)) : undefined
  if (profile === undefined && name !== 'default') {
    throw new TunnelError('CONFIG_INVALID', `profile = ${JSON.stringify(name)}: is not a known profile`, {
      hop: 'client',
    })
  }
  const { resolveSettings } = await import('./settings.ts')
  return resolveSettings(profile ?? {}, name, overrides)
}
