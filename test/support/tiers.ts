import { Value } from 'typebox/value'
import { TiersOptions } from '../../plugins/tiers/options.ts'

/** The tiers as they are without a configuration. */
export const tiersByDefault = (): TiersOptions => Value.Default(TiersOptions, {}) as TiersOptions
