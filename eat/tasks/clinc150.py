"""CLINC150 (Larson et al. 2019): 150 intents of a voice assistant and the class ``oos`` for what is out of scope."""

from eat.tasks.public import PublicTask
from eat.tasks.sources import Source

OUT_OF_SCOPE = "oos"

# The order of the Hugging Face set; a source with another order is matched by name.
_INTENTS = """
restaurant_reviews nutrition_info account_blocked oil_change_how time weather redeem_rewards interest_rate
gas_type accept_reservations smart_home user_name report_lost_card repeat whisper_mode what_are_your_hobbies
order jump_start schedule_meeting meeting_schedule freeze_account what_song meaning_of_life
restaurant_reservation traffic make_call text bill_balance improve_credit_score change_language no
measurement_conversion timer flip_coin do_you_have_pets balance tell_joke last_maintenance exchange_rate uber
car_rental credit_limit oos shopping_list expiration_date routing meal_suggestion tire_change todo_list
card_declined rewards_balance change_accent vaccines reminder_update food_last change_ai_name bill_due
who_do_you_work_for share_location international_visa calendar translate carry_on book_flight insurance_change
todo_list_update timezone cancel_reservation transactions credit_score report_fraud spending_history directions
spelling insurance what_is_your_name reminder where_are_you_from distance payday flight_status find_phone
greeting alarm order_status confirm_reservation cook_time damaged_card reset_settings pin_change
replacement_card_duration new_card roll_dice income taxes date who_made_you pto_request tire_pressure
how_old_are_you rollover_401k pto_request_status how_busy application_status recipe calendar_update play_music
yes direct_deposit credit_limit_change gas pay_bill ingredients_list lost_luggage goodbye what_can_i_ask_you
book_hotel are_you_a_bot next_song change_speed plug_type maybe w2 oil_change_when thank_you
shopping_list_update pto_balance order_checks travel_alert fun_fact sync_device schedule_maintenance apr
transfer ingredient_substitution calories current_location international_fees calculator definition next_holiday
update_playlist mpg min_payment change_user_name restaurant_suggestion travel_notification cancel pto_used
travel_suggestion change_volume
"""


def clinc150() -> PublicTask:
    """Build CLINC150 in its "plus" configuration, where training has 250 queries that are out of scope.

    Beside accuracy over all 151 classes it reports accuracy on queries in scope and the recall of ``oos``.
    """
    return PublicTask(
        name="clinc150",
        source=Source(folder="clinc_oos/plus", hub_path="clinc/clinc_oos", hub_config="plus"),
        source_columns=("text",),
        source_label="intent",
        label_names=tuple(_INTENTS.split()),
        metrics=("accuracy", "in_scope_accuracy", "oos_recall"),
        official_rows={"train": 15_250, "validation": 3_100, "test": 5_500},
    )
