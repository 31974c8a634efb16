import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { ClientSettings } from '../../client/options.ts'
import {
  ConfigError,
  type LoadOptions,
  loadSettings,
  type Problem,
  SettingsSchema,
} from '../../config/index.ts'
import type { SchemaNode } from '../../config/nodes.ts'

export const ROOT = SettingsSchema as unknown as SchemaNode
export const CLIENT_ROOT = ClientSettings as unknown as SchemaNode
export const JWT = 'j'.repeat(32)
export const MASTER = 'm'.repeat(32)
export const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA'
const SECRETS = { TUNNEL_JWT_SECRET: JWT, TUNNEL_MASTER_SECRET: MASTER }

function folder(t: TestContext): string {
  const dir = mkdtempSync(join(tmpdir(), 'tunnel-config-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  return dir
}

/** Loads with secrets given and nothing taken from the process that runs the tests. */
export function load(options: LoadOptions = {}) {
  return loadSettings({ ...options, env: { HOME: '/nonexistent', ...SECRETS, ...options.env } })
}

/** The setting at 'a.b'. */
export function valueAt(tree: unknown, path: string): unknown {
  return path.split('.').reduce<unknown>((inner, name) => (inner as Record<string, unknown>)[name], tree)
}

export function problemsOf(options: LoadOptions): readonly Problem[] {
  try {
    load(options)
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error))
    assert.equal(error.code, 'CONFIG_INVALID')
    for (const problem of error.problems) assert.ok(error.message.includes(problem.reason))
    return error.problems
  }
  return assert.fail('nothing was refused')
}

export function jsonFile(t: TestContext, content: unknown): string {
  const file = join(folder(t), 'settings.json')
  writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content))
  return file
}
